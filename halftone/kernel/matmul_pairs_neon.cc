// 2-bit weights in pairs times tables of pairs (matmul.h): tbl looks up what two k add to 16 rows,
// and the bytes are added into 16-bit sums.
#include <arm_neon.h>

#include <cstdint>

#include "halftone/kernel/entries.h"
#include "halftone/kernel/neon_tiles.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::neon {
namespace {

using Bytes = uint8x16_t;
constexpr int kParts = 4;

inline Bytes load(const uint8_t* p) { return vld1q_u8(p); }
inline Bytes low(Bytes v) { return vandq_u8(v, vdupq_n_u8(15)); }
inline Bytes high(Bytes v) { return vshrq_n_u8(v, 4); }
inline Bytes look_up(Bytes table, Bytes index) { return vqtbl1q_u8(table, index); }

struct Sums {
  uint16x8_t low, high;  // rows 0-7, 8-15
};
inline Sums cleared() { return {vdupq_n_u16(0), vdupq_n_u16(0)}; }
inline void add(Sums& sum, Bytes first, Bytes second) {
  sum.low = vaddw_u8(vaddw_u8(sum.low, vget_low_u8(first)), vget_low_u8(second));
  sum.high = vaddw_high_u8(vaddw_high_u8(sum.high, first), second);
}

struct Row {
  float32x4_t quarter[kQuarters];
};
inline Row zero_row() {
  const float32x4_t zero = vdupq_n_f32(0);
  return {{zero, zero, zero, zero}};
}

struct Unit;
inline void add_unit(Row& y, const Sums& sum, const Unit& unit);
inline void store_row(float* y, const Row& row, int64_t columns) {
  store_tile_row(y, row.quarter, columns);
}

#include "halftone/kernel/matmul_pairs_body.h"

inline void add_unit(Row& y, const Sums& sum, const Unit& unit) {
  for (int h = 0; h < kQuarters; ++h) {
    const uint16x8_t half = h < 2 ? sum.low : sum.high;
    const uint16x4_t rows = h % 2 == 0 ? vget_low_u16(half) : vget_high_u16(half);
    int32x4_t d = vreinterpretq_s32_u32(vshlq_n_u32(vmovl_u16(rows), 8));
    if (unit.w.zeros_offset < 0) {
      d = vaddq_s32(d, vdupq_n_s32(unit.offset()));
    } else {
      const int32x4_t z = zeros(unit.w, unit.tile, unit.group, h),
                      centred = vsubq_s32(vaddq_s32(z, z), vdupq_n_s32(3));
      d = vaddq_s32(d, vdupq_n_s32(unit.bias()));
      d = vmlsq_s32(d, centred, vdupq_n_s32(unit.sum));
    }
    y.quarter[h] = vfmaq_f32(y.quarter[h], vcvtq_f32_s32(d),
                             vmulq_n_f32(plain_scales(unit.w, unit.tile, unit.group, h), unit.a));
  }
}

}  // namespace

void matmul_pairs(const IntMatmul& job) noexcept { walk_all(job); }

}  // namespace halftone::kernel::neon
