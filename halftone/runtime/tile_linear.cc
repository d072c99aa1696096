// One decorated linear -> tiled weights, and how its input is prepared.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "halftone/base/error.h"
#include "halftone/base/half.h"
#include "halftone/runtime/program.h"
#include "halftone/runtime/round_rows.h"

namespace halftone::runtime {
namespace {

using kernel::kTileCols;
using kernel::TiledWeights;

kernel::Store store_of(DType dtype) {
  return dtype == DType::f16    ? kernel::Store::f16
         : dtype == DType::bf16 ? kernel::Store::bf16
                                : kernel::Store::f32;
}

// Kernels want groups that are runs of a multiple of 32 columns. Where groups are scattered
// (act-order) or of another size, columns are gathered by group, each group padded with zero
// columns to one common size.
struct Gathered {
  std::vector<int32_t> columns;  // position -> column or -1; empty: nothing to do
  int64_t group = 0;             // of the gathered order; 0: one scale per row
};

Gathered gather_for(const format::Codes& c) {
  if (c.format.granularity != format::Granularity::group || c.groups() == 1) return {};
  const bool plain = c.column_group.empty();
  if (plain && c.format.group % kTileCols == 0) return {.columns = {}, .group = c.format.group};
  std::vector<std::vector<int32_t>> members(static_cast<size_t>(c.groups()));
  for (int64_t k = 0; k < c.cols; ++k)
    members[static_cast<size_t>(c.group_of(k))].push_back(static_cast<int32_t>(k));
  size_t largest = 1;
  for (const auto& m : members) largest = std::max(largest, m.size());
  const auto size =
      static_cast<size_t>((static_cast<int64_t>(largest) + kTileCols - 1) / kTileCols * kTileCols);
  Gathered out;
  out.group = static_cast<int64_t>(size);
  out.columns.assign(size * members.size(), -1);
  for (size_t g = 0; g < members.size(); ++g)
    std::copy(members[g].begin(), members[g].end(),
              out.columns.begin() + static_cast<std::ptrdiff_t>(g * size));
  // The last group needs no padding behind it.
  const size_t tail = (members.size() - 1) * size + members.back().size();
  out.columns.resize(std::max<size_t>(tail, 1));
  return out;
}

bool fits_f16(const std::vector<float>& scales) {
  return std::all_of(scales.begin(), scales.end(),
                     [](float s) { return f16_to_f32(f32_to_f16(s)) == s; });
}

// Inputs that share a scale. A block holds its largest value exactly and costs the others precision
// in proportion, so blocks are short where inputs have massive values beside small ones (what
// mlp_down reads), where the weights themselves lose next to nothing (8 bits), and where they have
// lost so much that the model feels anything more (3 and 2 bits).
int64_t activation_block(int64_t bits, spec::Role role, const LoadOptions& options) {
  if (options.activation_block == LoadOptions::kWholeRow) return kernel::kWholeRow;
  if (options.activation_block != 0) return options.activation_block;
  return bits != 4 || role == spec::Role::mlp_down ? 32 : 64;
}

// k over which sums stay integer by two-level scales: where activations share a scale over four or
// more groups of 32. 0: not for these. (Measured: with wider groups, or fewer of them, one level is
// as fast in prefill, and up to a tenth faster in decode.)
int64_t two_level_block(const kernel::TileSpec& spec, const format::Codes& c, spec::Role role,
                        const LoadOptions& options) {
  if (options.numerics == Numerics::exact || spec.pairs || spec.group != kTileCols ||
      spec.group >= spec.cols)
    return 0;
  const int64_t wanted = activation_block(spec.bits, role, options),
                block = wanted == kernel::kWholeRow ? kernel::kMaxUnit : wanted;
  if (block < 4 * kTileCols || !kernel::has_two_levels(spec)) return 0;
  // f16 holds their sums of levels to 11 bits only where they are normal numbers
  const bool fit = std::all_of(c.scales.begin(), c.scales.end(),
                               [](float s) { return s == 0 || (s >= 0x1p-14f && s <= 32768.0f); });
  return fit ? block : 0;
}

// Are the tiles of this format what a file holds, in another order? Not where groups are gathered,
// codes lie in pairs, or scales may come in two levels.
bool tiles_as_stored(const format::Format& f, int64_t cols, spec::Role role,
                     const LoadOptions& options) {
  const bool grouped = f.granularity == format::Granularity::group && f.groups(cols) > 1;
  if (grouped && f.group % kTileCols != 0) return false;
  if (options.numerics == Numerics::tables && f.bits == 2) return false;
  if (options.numerics == Numerics::exact || !grouped || f.group != kTileCols) return true;
  const int64_t wanted = activation_block(f.bits, role, options);
  return wanted != kernel::kWholeRow && wanted < 4 * kTileCols;
}

TiledLinear tile_stored(const pack::StoredLinear& stored, spec::Role role,
                        const LoadOptions& options, kernel::TileBuild build) {
  const format::Format& f = stored.format;
  const kernel::TileSpec spec{
      .rows = stored.rows,
      .cols = stored.cols,
      .bits = static_cast<int>(f.bits),
      .group =
          f.granularity == format::Granularity::group && f.groups(stored.cols) > 1 ? f.group : 0,
      .zeros = !stored.zeros.empty(),
      .zero = 1 << (f.bits - 1)};
  TiledLinear out;
  out.weights = std::make_shared<TiledWeights>(TiledWeights::from_words(
      spec,
      {.data = stored.words.data(),
       .stride = stored.stride,
       .down = stored.down,
       .signed_bytes = stored.signed_bytes},
      {.data = stored.scales.data(), .row = stored.scale_row, .group = stored.scale_group},
      stored.zeros, build));
  out.preparation.plan = plan_for(out.weights->view(), role, options);
  out.preparation.transform.scale = stored.input_scale;
  out.bias = stored.bias;
  return out;
}

TiledLinear tile_codes(const pack::DecoratedLinear& linear, spec::Role role,
                       const LoadOptions& options, kernel::TileBuild build) {
  const format::Codes& c = linear.codes();
  const Gathered gathered = gather_for(c);
  const auto& columns = gathered.columns;
  const int64_t groups = c.groups();
  kernel::TileSpec spec;
  spec.rows = c.rows;
  spec.cols = columns.empty() ? c.cols : static_cast<int64_t>(columns.size());
  spec.bits = static_cast<int>(c.format.bits);
  spec.group = gathered.group;
  spec.scales = fits_f16(c.scales) ? kernel::ScaleType::f16 : kernel::ScaleType::f32;
  spec.zeros = !c.zeros.empty();
  spec.zero = 1 << (c.format.bits - 1);
  spec.pairs = options.numerics == Numerics::tables && spec.bits == 2;
  if (const int64_t block = two_level_block(spec, c, role, options)) {
    spec.super = block;
    spec.scales = kernel::ScaleType::f16;
  }
  const auto fill = [&](int64_t n, std::span<uint8_t> codes, std::span<float> scales,
                        std::span<uint8_t> zeros) {
    const uint8_t* row = c.codes.data() + n * c.cols;
    if (columns.empty()) {
      std::copy_n(row, c.cols, codes.data());
    } else {
      for (size_t i = 0; i < columns.size(); ++i)
        codes[i] = columns[i] < 0 ? uint8_t{0} : row[columns[i]];
    }
    for (int64_t g = 0; g < groups; ++g) {
      scales[static_cast<size_t>(g)] = c.scale(n, g);
      if (!zeros.empty()) zeros[static_cast<size_t>(g)] = static_cast<uint8_t>(c.zero(n, g));
    }
  };
  TiledLinear out;
  out.weights = std::make_shared<TiledWeights>(TiledWeights::from_codes(spec, fill, build));
  out.preparation.plan = plan_for(out.weights->view(), role, options);
  out.preparation.transform.gather = columns;
  return out;
}

// Dense rows -> nearest codes in groups of 32, row by row, so that no whole copy in floats exists.
TiledLinear tile_rounded(const std::string& name, const spec::Linear& linear, DType dtype,
                         const kernel::DenseRowReader& read, const LoadOptions& options,
                         kernel::TileBuild build) {
  const kernel::TileSpec spec{.rows = linear.out,
                              .cols = linear.in,
                              .bits = static_cast<int>(options.head_bits),
                              .group = kRoundedGroup,
                              .zero = 1 << (options.head_bits - 1)};
  const auto fill = [&](int64_t n, std::span<uint8_t> codes, std::span<float> scales,
                        std::span<uint8_t>) {
    thread_local std::vector<std::byte> row;
    row.resize(static_cast<size_t>(linear.in * dtype_bytes(dtype)));
    read(n, row);
    if (!round_row(dtype, row, options.head_bits, codes, scales))
      throw InputError(name, "has a value in row " + std::to_string(n) + " that is not finite",
                       "leave the head as stored");
  };
  TiledLinear out;
  out.weights = std::make_shared<TiledWeights>(TiledWeights::from_codes(spec, fill, build));
  out.preparation.plan = plan_for(out.weights->view(), linear.role, options);
  return out;
}

TiledLinear tile_linear(const pack::DecoratedLinear& linear, spec::Role role,
                        const LoadOptions& options, kernel::TileBuild build) {
  TiledLinear out;
  if (linear.quantized()) {
    out = tile_codes(linear, role, options, build);
  } else {
    const HostTensor& w = linear.dense();
    out.weights = std::make_shared<TiledWeights>(
        TiledWeights::from_dense(linear.out, linear.in, store_of(w.dtype()), w.bytes(), build));
    out.preparation.plan = plan_for(out.weights->view(), role, options);
  }
  out.preparation.transform.scale = linear.input_scale;
  out.bias = linear.bias;
  return out;
}

}  // namespace

kernel::ActivationPlan plan_for(const kernel::Tiles& view, spec::Role role,
                                const LoadOptions& options) {
  if (view.store != kernel::Store::codes || options.numerics == Numerics::exact)
    return kernel::plan_float(view);
  // Tables lose the same by a wider block, and narrower ones cost them more.
  if (view.pairs != 0 && options.activation_block == 0) return kernel::plan_int8(view, 64);
  return kernel::plan_int8(view, activation_block(view.bits, role, options));
}

TiledLinear tile_linear(const pack::PackedModel& packed, const spec::Op& op,
                        const LoadOptions& options, kernel::TileBuild build) {
  const auto& params = std::get<spec::Linear>(op.params);
  const auto& tensors = packed.checkpoint().tensors;
  if (const format::Format* f = packed.plan().find(op.name, format::Port::weight);
      f != nullptr && tiles_as_stored(*f, params.in, params.role, options)) {
    if (const auto stored = packed.stored(op)) {
      TiledLinear out = tile_stored(*stored, params.role, options, build);
      tensors->forget(stored->words_name, stored->words);
      tensors->forget(stored->scales_name, stored->scales);
      return out;
    }
  }
  const std::string& name = params.weight.name;
  const files::TensorInfo* info = tensors->find(name);
  const bool plain =
      packed.plan().find(op.name, format::Port::weight) == nullptr && !params.weight.transposed &&
      info != nullptr &&
      (info->dtype == DType::f32 || info->dtype == DType::f16 || info->dtype == DType::bf16) &&
      info->shape == Shape{params.out, params.in};
  // Dense weights go from the mapped file into tiles without a copy in between. What is not mapped
  // as it is (blocks of GGUF) is read whole, but for the head, the one tensor that is large beside
  // the rest.
  const auto mapped = plain ? stored_as_read(*tensors, *info) : std::span<const std::byte>();
  if (!plain || (mapped.empty() && params.role != spec::Role::head))
    return tile_linear(packed.linear(op), params.role, options, build);
  TiledLinear out;
  const int64_t row_bytes = params.in * dtype_bytes(info->dtype);
  // Piece by piece, so that a large head is never in memory twice.
  const auto done = [&](int64_t first, int64_t rows) {
    if (!mapped.empty())
      tensors->forget(name, mapped.subspan(static_cast<size_t>(first * row_bytes),
                                           static_cast<size_t>(rows * row_bytes)));
  };
  constexpr int64_t kPiece = 1024;  // rows
  const auto fill = [&](int64_t n, std::span<std::byte> row) {
    if (!mapped.empty()) {
      std::memcpy(row.data(), mapped.data() + n * row_bytes, static_cast<size_t>(row_bytes));
      if ((n + 1) % kPiece == 0) done(n + 1 - kPiece, kPiece);
    } else {
      const HostTensor values = tensors->read_rows(name, n, n + 1);
      std::memcpy(row.data(), values.bytes().data(), static_cast<size_t>(row_bytes));
    }
  };
  if (params.role == spec::Role::head && options.head_bits != 0) {
    out = tile_rounded(name, params, info->dtype, fill, options, build);
  } else {
    const kernel::Store store = store_of(info->dtype);
    out.weights = std::make_shared<TiledWeights>(
        mapped.empty()
            ? TiledWeights::from_dense(params.out, params.in, store, fill, build)
            : TiledWeights::from_dense(params.out, params.in, store, mapped, build, done));
    out.preparation.plan = plan_for(out.weights->view(), params.role, options);
  }
  if (!mapped.empty()) tensors->forget(name, mapped);
  if (params.bias) {
    const HostTensor bias = to_f32(packed.tensor(*params.bias));
    const auto values = bias.as<float>();
    out.bias.assign(values.begin(), values.end());
  }
  return out;
}

}  // namespace halftone::runtime
