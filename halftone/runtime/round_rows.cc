#include "halftone/runtime/round_rows.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "halftone/base/half.h"
#include "halftone/format/format.h"

namespace halftone::runtime {
namespace {

// Lanes of 128 bits, which every machine that we build for has.
using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
using Shorts = int16_t __attribute__((vector_size(16)));

constexpr size_t kGroup = kRoundedGroup;

// 32 values, eight to a pair of vectors: those of even and of odd place.
struct Group {
  Floats even[4], odd[4];
};

// Dividing in f32 may choose another code than dividing in double only this near to the middle
// between two: a quotient below 2^8 errs by 2^-17 at most.
constexpr float kNearMiddle = 0.5f - 0x1p-14f;

template <class T>
T at(const std::byte* from) {
  T v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

// Values of a group of halves, all finite, and the largest magnitude. The exponent moves into place
// by a multiplication, which also makes subnormals normal. False when one is not finite.
bool load_halves(const std::byte* from, Group& out, float& most) {
  Shorts largest = {};
  for (size_t i = 0; i < 4; ++i) {
    const Shorts magnitude = at<Shorts>(from + 16 * i) & 0x7fff;
    largest = magnitude > largest ? magnitude : largest;
    const Ints pair = at<Ints>(from + 16 * i);
    const auto even = reinterpret_cast<Floats>((pair & 0x7fff) << 13) * 0x1p112f,
               odd = reinterpret_cast<Floats>((pair >> 3) & 0x0fffe000) * 0x1p112f;
    out.even[i] = reinterpret_cast<Floats>(reinterpret_cast<Ints>(even) | ((pair & 0x8000) << 16));
    out.odd[i] = reinterpret_cast<Floats>(reinterpret_cast<Ints>(odd) |
                                          (pair & std::numeric_limits<int32_t>::min()));
  }
  int16_t top = 0;
  for (size_t i = 0; i < 8; ++i) top = std::max(top, static_cast<int16_t>(largest[i]));
  most = f16_to_f32(static_cast<uint16_t>(top));
  return top < 0x7c00;
}

bool load_floats(const float* from, Group& out, float& most) {
  // Bits of floats without their sign are in the order of what they mean, NaN last.
  Ints largest = {};
  for (size_t i = 0; i < 4; ++i) {
    const auto* bytes = reinterpret_cast<const std::byte*>(from + 8 * i);
    const Floats a = at<Floats>(bytes), b = at<Floats>(bytes + 16);
    for (const Floats v : {a, b}) {
      const Ints magnitude = reinterpret_cast<Ints>(v) & 0x7fffffff;
      largest = magnitude > largest ? magnitude : largest;
    }
    out.even[i] = __builtin_shufflevector(a, b, 0, 2, 4, 6);
    out.odd[i] = __builtin_shufflevector(a, b, 1, 3, 5, 7);
  }
  most = std::bit_cast<float>(std::max({largest[0], largest[1], largest[2], largest[3]}));
  return std::isfinite(most);
}

// `count` values at `from`, zeros behind them.
bool load(DType dtype, const std::byte* from, size_t count, Group& out, float& most) {
  if (dtype == DType::f16) {
    if (count == kGroup) return load_halves(from, out, most);
    std::array<std::byte, 2 * kGroup> halves = {};
    std::memcpy(halves.data(), from, 2 * count);
    return load_halves(halves.data(), out, most);
  }
  std::array<float, kGroup> values = {};
  to_f32(dtype, from, std::span(values).first(count));
  return load_floats(values.data(), out, most);
}

// The codes of four values, in lanes of 32 bits. `doubt` gathers where the quotient is too near to a
// middle, and codes that are none.
Ints nearest(Floats x, const format::Grid& grid, Ints& doubt) {
  constexpr float kMagic = 0x1.8p23f;  // after adding it no bits of fraction are left: half to even
  const Floats high = Floats{} + static_cast<float>(grid.max_code - grid.zero);
  Floats q = x / grid.scale;
  q = q < high ? q : high;
  const Floats sum = q + kMagic, off = q - (sum - kMagic);
  const Ints code = reinterpret_cast<Ints>(sum) - (std::bit_cast<int32_t>(kMagic) - grid.zero);
  const auto distance = reinterpret_cast<Floats>(reinterpret_cast<Ints>(off) & 0x7fffffff);
  doubt |= (distance > kNearMiddle) | (code & ~grid.max_code);
  return code;
}

void round_group(const Group& x, float most, size_t count, int64_t bits, uint8_t* codes,
                 float& scale) {
  format::Grid grid{
      .scale = 1, .zero = 1 << (bits - 1), .max_code = (1 << bits) - 1, .clamped = false};
  if (most > 0)
    grid.scale = format::stored_scale(2 * static_cast<double>(most) / grid.max_code,
                                      format::Format().scale_dtype, grid.clamped);
  scale = grid.scale;
  Ints doubt = {};
  std::array<uint8_t, kGroup> out;
  for (size_t i = 0; i < 4; i += 2) {
    Shorts pairs[2];  // two codes in the lower half of each lane
    for (size_t j = 0; j < 2; ++j)
      pairs[j] = reinterpret_cast<Shorts>(nearest(x.even[i + j], grid, doubt) |
                                          (nearest(x.odd[i + j], grid, doubt) << 8));
    const Shorts sixteen = __builtin_shufflevector(pairs[0], pairs[1], 0, 2, 4, 6, 8, 10, 12, 14);
    std::memcpy(out.data() + 8 * i, &sixteen, sizeof(sixteen));
  }
  if ((doubt[0] | doubt[1] | doubt[2] | doubt[3]) != 0) {
    std::array<float, kGroup / 2> even, odd;
    static_assert(sizeof(even) == sizeof(x.even) && sizeof(odd) == sizeof(x.odd));
    std::memcpy(even.data(), &x.even, sizeof(even));
    std::memcpy(odd.data(), &x.odd, sizeof(odd));
    std::array<double, kGroup> exact;
    for (size_t k = 0; k < kGroup; ++k)
      exact[k] = static_cast<double>(k % 2 == 0 ? even[k / 2] : odd[k / 2]);
    format::quantize_run(std::span<const double>(exact).first(count), grid, codes);
  } else {
    std::copy_n(out.begin(), count, codes);
  }
}

}  // namespace

bool round_row(DType dtype, std::span<const std::byte> row, int64_t bits, std::span<uint8_t> codes,
               std::span<float> scales) {
  const auto size = static_cast<size_t>(dtype_bytes(dtype));
  for (size_t k = 0; k < codes.size(); k += kGroup) {
    const size_t count = std::min(kGroup, codes.size() - k);
    Group x;
    float most = 0;
    if (!load(dtype, row.data() + k * size, count, x, most)) return false;
    round_group(x, most, count, bits, codes.data() + k, scales[k / kGroup]);
  }
  return true;
}

}  // namespace halftone::runtime
