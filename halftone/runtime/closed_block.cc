#include "halftone/runtime/closed_block.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "halftone/base/error.h"
#include "halftone/base/half.h"
#include "halftone/kernel/codes.h"

namespace halftone::runtime {
namespace {

constexpr int64_t kLanes = kernel::kTileRows;
constexpr int64_t kOnes = kLanes * 4;  // bytes before a tile's codes
constexpr float kLeastStep = 0x1p-100f;
static_assert(std::max(kMaxKeyGroup, kMaxValueGroup) <= kernel::kMaxUnit);

int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

// The nearest bf16 that is not above x, not below x.
uint16_t bf16_below(float x) {
  const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);  // towards zero
  return bf16_to_f32(bits) > x ? static_cast<uint16_t>(bits + 1) : bits;
}
uint16_t bf16_above(float x) {
  const auto bits = static_cast<uint16_t>(std::bit_cast<uint32_t>(x) >> 16);
  return bf16_to_f32(bits) < x ? static_cast<uint16_t>(bits + 1) : bits;
}

// Of the range of a group's numbers, what codes of 2 bits may span: with four of them it pays to
// cut off the ends.
constexpr std::array kShares = {1.0f, 0.85f, 0.7f, 0.6f, 0.5f};

struct Fitted {
  uint16_t scale, offset;
  std::array<int8_t, kernel::kMaxUnit> codes;  // less `moved`
  int moved;                                   // rounding to nearest gives codes -127..127
  int highest;
  int code(int64_t i) const {
    return std::clamp(codes[static_cast<size_t>(i)] + moved, 0, highest);
  }
};

// Codes of n values between `low` and `high`. Scale and offset are rounded first, outwards, and
// codes are fitted to what is kept.
void fit(const float* x, int64_t n, int bits, float low, float high, const kernel::Kernels& kernels,
         Fitted& out) {
  alignas(64) std::array<float, kernel::kMaxUnit> y;
  out.highest = (1 << bits) - 1;
  out.moved = bits == 8 ? 127 : 0;
  out.offset = bf16_below(low);
  float offset = bf16_to_f32(out.offset);
  out.scale = bf16_above((high - offset) / static_cast<float>(bits == 8 ? 254 : out.highest));
  float scale = bf16_to_f32(out.scale);
  if (!(scale >= kLeastStep)) scale = out.scale = 0;  // all equal, or no numbers
  offset += scale * static_cast<float>(out.moved);
  for (int64_t i = 0; i < n; ++i) y[static_cast<size_t>(i)] = x[i] - offset;
  const int64_t wide = up(n, kernel::kTileCols);
  float a = 0;
  int32_t sum = 0;
  kernels.quantize({.x = y.data(),
                    .ldx = n,
                    .m = 1,
                    .cols = n,
                    .padded_cols = wide,
                    .unit = wide,
                    .units = 1,
                    .block = wide,
                    .fixed = scale > 0 ? scale : 1.0f,
                    .rows_per_panel = 1,
                    .depth = 4,
                    .codes = out.codes.data(),
                    .a = &a,
                    .sums = &sum,
                    .row_begin = 0,
                    .row_end = 1});
  if (a != a) {
    out.offset = out.scale = 0x7fc0;
    out.moved = 0;
  }
}

void fit(const float* x, int64_t n, int bits, const kernel::Kernels& kernels, Fitted& out) {
  const kernel::VectorOps& ops = *kernels.vector;
  std::array<float, kernel::kMaxUnit> minus;
  ops.scale(x, -1.0f, n, minus.data());
  const float low = -ops.max(minus.data(), n), high = ops.max(x, n);
  fit(x, n, bits, low, high, kernels, out);
  if (bits != 2) return;
  const auto error_of = [&](const Fitted& f) {
    const float scale = bf16_to_f32(f.scale), offset = bf16_to_f32(f.offset);
    float error = 0;
    for (int64_t i = 0; i < n; ++i) {
      const float e = offset + scale * static_cast<float>(f.code(i)) - x[i];
      error += e * e;
    }
    return error;
  };
  float best = error_of(out);
  Fitted next;
  for (size_t i = 1; i < kShares.size(); ++i) {
    const float cut = (high - low) * (1 - kShares[i]) / 2;
    fit(x, n, bits, low + cut, high - cut, kernels, next);
    const float error = error_of(next);
    if (!(error < best)) continue;  // also where there are no numbers
    best = error;
    out = next;
  }
}

}  // namespace

ClosedBlock::ClosedBlock(int64_t dim, int bits)
    : dim_(dim), wide_(up(dim, kernel::kTileCols)), bits_(bits) {
  check(bits == 2 || bits == 4 || bits == 8, "a closed block has 2, 4 or 8 bits");
  key_scales_ = kKvBlock / kLanes * tile_bytes(wide_);
  values_ = key_scales_ + key_groups() * 2 * wide_ * 2;
  value_scales_ = values_ + up(dim, kLanes) / kLanes * tile_bytes(kKvBlock);
  bytes_ = value_scales_ + value_groups() * 2 * kKvBlock * 2;
}

int64_t ClosedBlock::tile_bytes(int64_t cols) const noexcept {
  return kOnes + cols * kLanes * bits_ / 8;
}

void ClosedBlock::begin(std::byte* block) const noexcept {
  const auto clear = [&](std::byte* to, int64_t tiles, int64_t bytes) {
    std::array<float, kLanes> ones;
    ones.fill(1);
    std::memset(to, 0, static_cast<size_t>(tiles * bytes));
    for (int64_t i = 0; i < tiles; ++i) std::memcpy(to + i * bytes, ones.data(), kOnes);
  };
  clear(block, kKvBlock / kLanes, tile_bytes(wide_));
  clear(block + values_, up(dim_, kLanes) / kLanes, tile_bytes(kKvBlock));
}

// A line holds 4 columns of 16 rows in each group of `bits_` bits of its bytes.
void ClosedBlock::put(std::byte* tiles, int64_t cols, int64_t row, int64_t col,
                      int code) const noexcept {
  const int64_t a_line = 4 * (8 / bits_);
  std::byte& to = tiles[row / kLanes * tile_bytes(cols) + kOnes + col / a_line * 64 +
                        row % kLanes * 4 + col % 4];
  to |= static_cast<std::byte>(code << (col % a_line / 4 * bits_));
}

void ClosedBlock::put_keys(std::byte* block, int64_t d, const float* keys,
                           const kernel::Kernels& kernels) const noexcept {
  Fitted f;
  for (int64_t g = 0; g < key_groups(); ++g) {
    fit(keys + g * key_group(), key_group(), bits_, kernels, f);
    std::byte* scales = block + key_scales_ + (g * 2 * wide_ + d) * 2;
    std::memcpy(scales, &f.scale, 2);
    std::memcpy(scales + wide_ * 2, &f.offset, 2);
    for (int64_t t = 0; t < key_group(); ++t) put(block, wide_, g * key_group() + t, d, f.code(t));
  }
}

void ClosedBlock::put_values(std::byte* block, int64_t t, int64_t group, const float* values,
                             const kernel::Kernels& kernels) const noexcept {
  Fitted f;
  const int64_t first = group * value_group(), n = std::min(value_group(), dim_ - first);
  fit(values, n, bits_, kernels, f);
  std::byte* scales = block + value_scales_ + (group * 2 * kKvBlock + t) * 2;
  std::memcpy(scales, &f.scale, 2);
  std::memcpy(scales + kKvBlock * 2, &f.offset, 2);
  for (int64_t i = 0; i < n; ++i) put(block + values_, kKvBlock, first + i, t, f.code(i));
}

kernel::Tiles ClosedBlock::tiles(const std::byte* data, int64_t rows, int64_t cols) const noexcept {
  const int64_t wide = up(cols, kernel::kTileCols);
  return {.data = reinterpret_cast<const uint8_t*>(data),
          .tile_bytes = tile_bytes(wide),
          .rows = rows,
          .cols = cols,
          .padded_cols = wide,
          .group = wide,
          .groups = 1,
          .zeros_offset = -1,
          .codes_offset = kOnes,
          .store = kernel::Store::codes,
          .bits = bits_,
          .zero = 0,
          .scales_f32 = 1};
}

ClosedPart ClosedBlock::keys(const std::byte* block, int64_t group) const noexcept {
  const auto* scales = reinterpret_cast<const uint16_t*>(block + key_scales_) + group * 2 * wide_;
  return {tiles(block + group * (key_group() / kLanes) * tile_bytes(wide_), key_group(), dim_),
          scales, scales + wide_};
}

ClosedPart ClosedBlock::values(const std::byte* block, int64_t group) const noexcept {
  const auto* scales =
      reinterpret_cast<const uint16_t*>(block + value_scales_) + group * 2 * kKvBlock;
  return {tiles(block + values_ + group * (value_group() / kLanes) * tile_bytes(kKvBlock),
                std::min(value_group(), dim_ - group * value_group()), kKvBlock),
          scales, scales + kKvBlock};
}

float number(const ClosedPart& part, int64_t row, int64_t col) {
  const uint8_t* tile = part.codes.data + row / kLanes * part.codes.tile_bytes;
  const int code = kernel::code_at(part.codes, tile, row % kLanes, col);
  return bf16_to_f32(part.offsets[col]) + bf16_to_f32(part.scales[col]) * static_cast<float>(code);
}

}  // namespace halftone::runtime
