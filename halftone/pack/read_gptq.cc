// GPTQ checkpoints: codes packed down K, zero-points along N (formats: bits 2, 3, 4, 8; v1 keeps
// zero-points minus one).
#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/pack/read_linear.h"

namespace halftone::pack {
namespace {

using format::Format;

struct Names {
  explicit Names(const std::string& m)
      : weight(m + ".qweight"), zeros(m + ".qzeros"), scales(m + ".scales"), groups(m + ".g_idx") {}
  std::string weight, zeros, scales, groups;
};

// Stored zero-point fields, [G, N].
std::vector<uint8_t> zero_fields(const LinearFile& f, int64_t groups) {
  const int64_t bits = f.scheme.weights.bits, n = f.linear.out;
  const HostTensor stored = f.tensors.read(Names(f.module).zeros);
  const auto words = stored.as<uint32_t>();
  const size_t per_row = words.size() / static_cast<size_t>(groups);
  std::vector<uint8_t> fields(static_cast<size_t>(groups * n));
  for (int64_t g = 0; g < groups; ++g)
    unpack_codes(words.subspan(static_cast<size_t>(g) * per_row, per_row), bits, Packing::dense,
                 std::span(fields).subspan(static_cast<size_t>(g * n), static_cast<size_t>(n)));
  return fields;
}

// Zero-points, [N, G]; empty where all are the middle. The words decide, not the label: "sym" files
// with other zero-points exist.
std::vector<uint8_t> read_zeros(const LinearFile& f, int64_t version, Format& format) {
  const int64_t rows = f.linear.out, groups = format.groups(f.linear.in);
  const auto fields = zero_fields(f, groups);
  const uint32_t mask = (1u << format.bits) - 1, add = version == 1 ? 1 : 0,
                 middle = 1u << (format.bits - 1);
  if (format.symmetric && std::all_of(fields.begin(), fields.end(),
                                      [&](uint8_t x) { return ((x + add) & mask) == middle; }))
    return {};
  format.symmetric = false;
  std::vector<uint8_t> zeros(fields.size());
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < rows; ++r)
      zeros[static_cast<size_t>(r * groups + g)] =
          static_cast<uint8_t>((fields[static_cast<size_t>(g * rows + r)] + add) & mask);
  return zeros;
}

}  // namespace

Format check_gptq(const LinearFile& f) {
  const Names n(f.module);
  const int64_t rows = f.linear.out, cols = f.linear.in;
  Format format = f.scheme.weights;
  const int64_t bits = format.bits, groups = format.groups(cols);
  const auto& weight = require(f.tensors, n.weight, {DType::i32});
  if (f.tensors.find(n.zeros) == nullptr && f.tensors.find(f.module + ".zeros") != nullptr)
    throw UnsupportedError(weight.file,
                           "tensor " + quote(f.module + ".zeros") +
                               ": the first GPTQ layout (float zeros, no qzeros) cannot be read",
                           "convert it with GPTQModel");
  // 32 codes fill `bits` words; a tail that ends inside a word has no agreed form.
  if ((cols * bits) % 32 != 0 || (rows * bits) % 32 != 0)
    contradiction(Code::mismatch, weight,
                  "weights " + to_string(Shape{rows, cols}) + " of " + std::to_string(bits) +
                      " bits do not fill whole words");
  require_shape(weight, {cols * bits / 32, rows},
                std::to_string(bits) + " bits packed down " + std::to_string(cols) + " columns");
  require_shape(require(f.tensors, n.zeros, {DType::i32}), {groups, rows * bits / 32},
                "zero-points of " + std::to_string(groups) + " groups");
  const auto& scales = require(f.tensors, n.scales, kFloatTypes);
  require_shape(scales, {groups, rows}, "scales of " + std::to_string(groups) + " groups");
  format.scale_dtype = scales.dtype;
  if (f.tensors.find(n.groups) != nullptr)
    require_shape(require(f.tensors, n.groups, {DType::i32}), {cols}, "one for each column");
  return format;
}

GptqZeros probe_gptq_zeros(const LinearFile& f) {
  GptqZeros out;
  out.version = f.config.gptq_version();
  const int64_t bits = f.scheme.weights.bits;
  const auto fields = zero_fields(f, f.scheme.weights.groups(f.linear.in));
  const uint8_t middle = static_cast<uint8_t>(1u << (bits - 1)),
                top = static_cast<uint8_t>((1u << bits) - 1);
  const auto all = [&](uint8_t v) {
    return std::all_of(fields.begin(), fields.end(), [v](uint8_t x) { return x == v; });
  };
  if (f.scheme.weights.symmetric) {
    const int64_t seen = all(middle) ? 2 : all(static_cast<uint8_t>(middle - 1)) ? 1 : out.version;
    out.wrong_label = seen != out.version;
    out.version = seen;
  }
  out.wrapped = out.version == 1 && std::find(fields.begin(), fields.end(), top) != fields.end();
  return out;
}

DecoratedLinear read_gptq(const LinearFile& f, int64_t version) {
  const Names n(f.module);
  const int64_t rows = f.linear.out, cols = f.linear.in;
  DecoratedLinear out;
  out.name = f.module;
  out.out = rows;
  out.in = cols;
  format::Codes c;
  c.format = check_gptq(f);
  c.rows = rows;
  c.cols = cols;
  const int64_t bits = c.format.bits, groups = c.groups();

  c.codes.resize(static_cast<size_t>(rows * cols));
  {
    // Unpacked by blocks of 32 columns (`bits` words) and turned into rows.
    const HostTensor stored = f.tensors.read(n.weight);
    const auto words = stored.as<uint32_t>();
    std::vector<uint8_t> block(static_cast<size_t>(32 * rows));
    const int64_t step = 32;
    for (int64_t k = 0; k < cols; k += step) {
      const int64_t count = std::min(step, cols - k);
      const int64_t first = k * bits / 32, used = packed_words(count, bits);
      const auto part = std::span(block).first(static_cast<size_t>(count * rows));
      unpack_codes_down(
          words.subspan(static_cast<size_t>(first * rows), static_cast<size_t>(used * rows)), rows,
          bits, Packing::dense, count, part);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t i = 0; i < count; ++i)
          c.codes[static_cast<size_t>(r * cols + k + i)] = part[static_cast<size_t>(i * rows + r)];
    }
  }
  const auto scales = read_floats(f.tensors, n.scales, true);  // [G, N]
  c.scales.resize(scales.size());
  for (int64_t g = 0; g < groups; ++g)
    for (int64_t r = 0; r < rows; ++r)
      c.scales[static_cast<size_t>(r * groups + g)] = scales[static_cast<size_t>(g * rows + r)];
  c.zeros = read_zeros(f, version, c.format);
  if (f.tensors.find(n.groups) != nullptr)
    c.column_group = read_column_groups(f.tensors, n.groups, c.format, cols);
  out.weight = std::move(c);
  out.bias = read_bias(f.tensors, f.module, f.linear);
  return out;
}

std::optional<StoredLinear> stored_gptq(const LinearFile& f, int64_t version) {
  const Names n(f.module);
  StoredLinear out;
  out.format = check_gptq(f);
  out.rows = f.linear.out;
  out.cols = f.linear.in;
  const int64_t bits = out.format.bits;
  if (out.format.scale_dtype != DType::f16 || (bits != 2 && bits != 4 && bits != 8)) return {};
  out.words = f.tensors.mapped(n.weight);
  out.scales = f.tensors.mapped(n.scales);
  if (out.words.empty() || out.scales.empty() || !finite_halves(out.scales)) return {};
  out.stride = 4 * out.rows;
  out.down = true;
  out.scale_row = 1;
  out.scale_group = out.rows;
  out.zeros = read_zeros(f, version, out.format);
  if (f.tensors.find(n.groups) != nullptr &&
      !read_column_groups(f.tensors, n.groups, out.format, out.cols).empty())
    return {};
  out.bias = read_bias(f.tensors, f.module, f.linear);
  out.words_name = n.weight;
  out.scales_name = n.scales;
  return out;
}

}  // namespace halftone::pack
