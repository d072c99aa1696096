// compressed-tensors, and our own layout, which has the same tensors.
#include <algorithm>
#include <cstring>

#include "halftone/base/error.h"
#include "halftone/pack/read_linear.h"

namespace halftone::pack {
namespace {

using format::Format;
using format::Granularity;

struct Names {
  explicit Names(const std::string& m)
      : packed(m + ".weight_packed"),
        plain(m + ".weight"),
        scale(m + ".weight_scale"),
        zero(m + ".weight_zero_point"),
        shape(m + ".weight_shape"),
        groups(m + ".weight_g_idx"),
        input_scale(m + ".weight_input_scale") {}
  std::string packed, plain, scale, zero, shape, groups, input_scale;
};

// Which packing `count` codes have, from the words that the file gives them.
Packing packing_of(const files::TensorInfo& info, int64_t words, int64_t count, int64_t bits,
                   std::optional<bool> padded) {
  const int64_t dense = packed_words(count, bits),
                loose = packed_words(count, bits, Packing::padded);
  if (words != dense && words != loose)
    contradiction(Code::mismatch, info,
                  std::to_string(words) + " words cannot hold " + std::to_string(count) +
                      " codes of " + std::to_string(bits) + " bits (" + std::to_string(dense) +
                      (loose != dense ? " or " + std::to_string(loose) : "") + " do)");
  if (dense != loose) return words == dense ? Packing::dense : Packing::padded;
  if (32 % bits == 0 || dense <= 1) return Packing::dense;  // the same bytes either way
  if (!padded)
    contradiction(
        Code::missing, info,
        "its width fits two layouts and quantization_config has no version to tell which");
  return *padded ? Packing::padded : Packing::dense;
}

Shape scale_shape(const Format& f, int64_t rows, int64_t cols) {
  if (f.granularity == Granularity::tensor) return {1};
  return {rows, f.groups(cols)};
}

void check_scale_shape(const files::TensorInfo& info, const Format& f, int64_t rows, int64_t cols) {
  const Shape wanted = scale_shape(f, rows, cols);
  if (f.granularity == Granularity::tensor && (info.shape == Shape{} || info.shape == Shape{1, 1}))
    return;
  if (f.granularity == Granularity::row && info.shape == Shape{rows}) return;
  require_shape(info, wanted, "the scales of " + f.label());
}

uint8_t unsigned_code(int8_t q, int64_t bits, const files::TensorInfo& info, int64_t at) {
  const int u = q + (1 << (bits - 1));
  if (u < 0 || u >= (1 << bits))
    contradiction(Code::value, info,
                  "element " + std::to_string(at) + " is " + std::to_string(q) + ", outside " +
                      std::to_string(bits) + " bits");
  return static_cast<uint8_t>(u);
}

// [N, G], or one where the whole tensor shares it.
std::vector<uint8_t> read_zeros(const LinearFile& f, const std::string& name, size_t count) {
  const int64_t bits = f.scheme.weights.bits, rows = f.linear.out;
  const files::TensorInfo& info = *f.tensors.find(name);
  const HostTensor z = f.tensors.read(name);
  std::vector<uint8_t> zeros(count);
  if (info.dtype == DType::i8) {
    const auto q = z.as<int8_t>();
    for (size_t i = 0; i < q.size(); ++i)
      zeros[i] = unsigned_code(q[i], bits, info, static_cast<int64_t>(i));
  } else {
    unpack_codes_down(z.as<uint32_t>(), f.scheme.weights.groups(f.linear.in), bits,
                      packing_of(info, info.shape[0], rows, bits, f.config.padded_words()), rows,
                      zeros);
  }
  return zeros;
}

}  // namespace

bool has_quantized_weights(const files::TensorSource& tensors, const std::string& module) {
  if (tensors.find(module + ".weight_packed") != nullptr ||
      tensors.find(module + ".qweight") != nullptr)
    return true;
  const auto* plain = tensors.find(module + ".weight");
  return plain != nullptr && plain->dtype == DType::i8;
}

Format check_compressed(const LinearFile& f) {
  const Names n(f.module);
  const int64_t rows = f.linear.out, cols = f.linear.in;
  Format format = f.scheme.weights;
  const auto& scale = require(f.tensors, n.scale, kFloatTypes);
  format.scale_dtype = scale.dtype;
  check_scale_shape(scale, format, rows, cols);
  if (f.config.method() != "halftone" && f.linear.weight.transposed)
    throw UnsupportedError(
        scale.file,
        "tensor " + quote(n.scale) + ": compressed-tensors weights of a Conv1D cannot be read",
        "the halftone layout holds them");
  if (f.scheme.storage == Storage::int8) {
    require_shape(require(f.tensors, n.plain, {DType::i8}), {rows, cols}, "from config.json");
  } else {
    const auto& packed = require(f.tensors, n.packed, {DType::i32});
    if (packed.shape.size() != 2 || packed.shape[0] != rows)
      contradiction(
          Code::mismatch, packed,
          "shape is " + to_string(packed.shape) + ", wanted " + std::to_string(rows) + " rows");
    packing_of(packed, packed.shape[1], cols, format.bits, f.config.padded_words());
    if (f.tensors.find(n.shape) != nullptr) {
      const auto& shape = require(f.tensors, n.shape, {DType::i64, DType::i32});
      require_shape(shape, {2}, "rows and columns");
      const HostTensor values = f.tensors.read(n.shape);
      const auto at = [&](size_t i) {
        return shape.dtype == DType::i64 ? values.as<int64_t>()[i]
                                         : int64_t{values.as<int32_t>()[i]};
      };
      if (at(0) != rows || at(1) != cols)
        contradiction(Code::mismatch, shape,
                      "says " + to_string(Shape{at(0), at(1)}) + ", config.json says " +
                          to_string(Shape{rows, cols}));
    }
  }
  if (!format.symmetric) {
    const auto& zero = require(f.tensors, n.zero, {DType::i32, DType::i8});
    if (zero.dtype == DType::i8) {
      check_scale_shape(zero, format, rows, cols);
    } else if (format.granularity == Granularity::tensor || zero.shape.size() != 2 ||
               zero.shape[1] != format.groups(cols)) {
      contradiction(Code::mismatch, zero,
                    "shape is " + to_string(zero.shape) + ", wanted packed rows x " +
                        std::to_string(format.groups(cols)));
    } else {
      packing_of(zero, zero.shape[0], rows, format.bits, f.config.padded_words());
    }
  }
  if (f.tensors.find(n.groups) != nullptr)
    require_shape(require(f.tensors, n.groups, {DType::i32}), {cols}, "one for each column");
  if (f.tensors.find(n.input_scale) != nullptr)
    require_shape(require(f.tensors, n.input_scale, kFloatTypes), {cols}, "one for each column");
  return format;
}

DecoratedLinear read_compressed(const LinearFile& f) {
  const Names n(f.module);
  const int64_t rows = f.linear.out, cols = f.linear.in;
  DecoratedLinear out;
  out.name = f.module;
  out.out = rows;
  out.in = cols;
  format::Codes c;
  c.format = check_compressed(f);
  c.rows = rows;
  c.cols = cols;
  c.codes.resize(static_cast<size_t>(rows * cols));
  const int64_t bits = c.format.bits;
  if (f.scheme.storage == Storage::int8) {
    const files::TensorInfo& info = *f.tensors.find(n.plain);
    const HostTensor w = f.tensors.read(n.plain);
    const auto q = w.as<int8_t>();
    for (size_t i = 0; i < q.size(); ++i)
      c.codes[i] = unsigned_code(q[i], bits, info, static_cast<int64_t>(i));
  } else {
    const files::TensorInfo& info = *f.tensors.find(n.packed);
    const int64_t words = info.shape[1];
    const Packing packing = packing_of(info, words, cols, bits, f.config.padded_words());
    const HostTensor w = f.tensors.read(n.packed);
    const auto all = w.as<uint32_t>();
    for (int64_t r = 0; r < rows; ++r)
      unpack_codes(
          all.subspan(static_cast<size_t>(r * words), static_cast<size_t>(words)), bits, packing,
          std::span(c.codes).subspan(static_cast<size_t>(r * cols), static_cast<size_t>(cols)));
  }
  c.scales = read_floats(f.tensors, n.scale, true);
  if (!c.format.symmetric) c.zeros = read_zeros(f, n.zero, c.scales.size());
  if (f.tensors.find(n.groups) != nullptr)
    c.column_group = read_column_groups(f.tensors, n.groups, c.format, cols);
  if (f.tensors.find(n.input_scale) != nullptr)
    out.input_scale = read_floats(f.tensors, n.input_scale, true);
  out.weight = std::move(c);
  out.bias = read_bias(f.tensors, f.module, f.linear);
  return out;
}

std::optional<StoredLinear> stored_compressed(const LinearFile& f) {
  const Names n(f.module);
  const bool int8 = f.scheme.storage == Storage::int8;
  const std::string& codes = int8 ? n.plain : n.packed;
  StoredLinear out;
  out.format = check_compressed(f);
  out.rows = f.linear.out;
  out.cols = f.linear.in;
  const int64_t bits = out.format.bits;
  if (out.format.scale_dtype != DType::f16 || f.tensors.find(n.groups) != nullptr ||
      (int8 ? bits != 8 : bits != 2 && bits != 4 && bits != 8))
    return {};
  out.words = f.tensors.mapped(codes);
  out.scales = f.tensors.mapped(n.scale);
  if (out.words.empty() || out.scales.empty() || !finite_halves(out.scales)) return {};
  out.signed_bytes = int8;
  out.stride = int8 ? out.cols : 4 * f.tensors.find(codes)->shape[1];
  const bool one = out.format.granularity == Granularity::tensor;
  out.scale_row = one ? 0 : out.format.groups(out.cols);
  out.scale_group = one ? 0 : 1;
  if (!out.format.symmetric) {
    out.zeros = read_zeros(f, n.zero, out.scales.size() / 2);
    if (one) out.zeros.assign(static_cast<size_t>(out.rows), out.zeros.at(0));
  }
  if (f.tensors.find(n.input_scale) != nullptr)
    out.input_scale = read_floats(f.tensors, n.input_scale, true);
  out.bias = read_bias(f.tensors, f.module, f.linear);
  out.words_name = codes;
  out.scales_name = n.scale;
  return out;
}

}  // namespace halftone::pack
