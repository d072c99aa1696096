// Reading tiles with NEON, shared by the *_neon.cc files; a line of codes is four vectors of 4
// rows. Everything in an anonymous namespace: each file keeps its own copy, compiled with its own
// flags.
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "halftone/kernel/kernels.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::neon {
namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

constexpr int kQuarters = 4;  // vectors of a line, of 4 rows each

// Quads that one turn unpacks, out of how many lines.
template <int B>
constexpr int kQuads = B == 3 || kPlanes<B> ? 8 : 8 / kBits<B>;
template <int B>
constexpr int kLines = B == 3 || kPlanes<B> ? B : 1;

// b = 3: bits 6-7 of the three lines put together, the first lowest: quad 6 in the low 3 bits of
// each byte, quad 7 above.
inline uint8x16_t third(uint8x16_t v0, uint8x16_t v1, uint8x16_t v2) {
  const uint8x16_t two = vsliq_n_u8(vshrq_n_u8(v0, 6), vshrq_n_u8(v1, 6), 2);
  return vsliq_n_u8(two, vshrq_n_u8(v2, 6), 4);
}

// `Width` bits of each byte from bit `From` on, at bit `To`.
template <int From, int Width, int To>
inline uint8x16_t bits_at(uint8x16_t v) {
  if constexpr (From > 0) v = vshrq_n_u8(v, From);
  v = vandq_u8(v, vdupq_n_u8((1 << Width) - 1));
  if constexpr (To > 0) v = vshlq_n_u8(v, To);
  return v;
}

// The quads of a turn as unsigned bytes, for one quarter of the tile: `lines` points at this
// quarter of the first line.
template <int B>
inline void unpack(const Tiles& w, const uint8_t* lines, uint8x16_t (&q)[kQuads<B>]) {
  const uint8x16_t v = vld1q_u8(lines);
  if constexpr (B == 8) {
    q[0] = v;
  } else if constexpr (B == 4) {
    q[0] = vandq_u8(v, vdupq_n_u8(15));
    q[1] = vshrq_n_u8(v, 4);
  } else if constexpr (B == kBook) {
    const uint8x16_t table = vld1q_u8(w.level);
    q[0] = vqtbl1q_u8(table, vandq_u8(v, vdupq_n_u8(15)));
    q[1] = vqtbl1q_u8(table, vshrq_n_u8(v, 4));
  } else if constexpr (B == 1) {
    unrolled<8>([&](auto index) __attribute__((always_inline)) {
      constexpr int I = decltype(index)::kValue;
      q[I] = bits_at<I, 1, 0>(v);
    });
  } else if constexpr (kPlanes<B>) {
    for (int i = 0; i < 4; ++i) {
      const uint8x16_t line = vld1q_u8(lines + i * 64);
      q[2 * i] = vandq_u8(line, vdupq_n_u8(15));
      q[2 * i + 1] = vshrq_n_u8(line, 4);
    }
    unrolled<8>([&](auto index) __attribute__((always_inline)) {
      constexpr int I = decltype(index)::kValue;
      if constexpr (B == 5) {
        q[I] = vorrq_u8(q[I], bits_at<I, 1, 4>(vld1q_u8(lines + 4 * 64)));
      } else {
        q[I] = vorrq_u8(q[I], bits_at<2 * (I % 4), 2, 4>(vld1q_u8(lines + (4 + I / 4) * 64)));
        if constexpr (B == 7) q[I] = vorrq_u8(q[I], bits_at<I, 1, 6>(vld1q_u8(lines + 6 * 64)));
      }
    });
  } else if constexpr (B == 2) {
    const uint8x16_t mask = vdupq_n_u8(3);
    q[0] = vandq_u8(v, mask);
    q[1] = vandq_u8(vshrq_n_u8(v, 2), mask);
    q[2] = vandq_u8(vshrq_n_u8(v, 4), mask);
    q[3] = vshrq_n_u8(v, 6);
  } else {
    const uint8x16_t mask = vdupq_n_u8(7), v1 = vld1q_u8(lines + 64), v2 = vld1q_u8(lines + 128);
    q[0] = vandq_u8(v, mask);
    q[1] = vandq_u8(vshrq_n_u8(v, 3), mask);
    q[2] = vandq_u8(v1, mask);
    q[3] = vandq_u8(vshrq_n_u8(v1, 3), mask);
    q[4] = vandq_u8(v2, mask);
    q[5] = vandq_u8(vshrq_n_u8(v2, 3), mask);
    const uint8x16_t t = third(v, v1, v2);
    q[6] = vandq_u8(t, mask);
    q[7] = vshrq_n_u8(t, 3);
  }
}

// What sdot, which multiplies signed by signed bytes, takes for a code: the code, or of 8 bits the
// code minus kOffset. The zero-point moves with it, so sums come out the same integers.
template <int B>
constexpr int32_t kOffset = B == 8 || B == kBook ? 128 : 0;
template <int B>
inline int8x16_t signed_codes(uint8x16_t quad) {
  if constexpr (kOffset<B> != 0) return vreinterpretq_s8_u8(veorq_u8(quad, vdupq_n_u8(128)));
  return vreinterpretq_s8_u8(quad);
}

// Scales of a group, rows 4 * quarter .. + 3 of the tile.
// Scales of a group as they are, and as integer products take them.
inline float32x4_t plain_scales(const Tiles& w, const uint8_t* tile, int64_t group, int quarter) {
  const int64_t at = group * kTileRows + quarter * 4;
  if (w.scales_f32) return vld1q_f32(reinterpret_cast<const float*>(tile + at * 4));
  return vcvt_f32_f16(
      vreinterpret_f16_u16(vld1_u16(reinterpret_cast<const uint16_t*>(tile + at * 2))));
}
inline float32x4_t scales(const Tiles& w, const uint8_t* tile, int64_t group, int quarter) {
  return vmulq_n_f32(plain_scales(w, tile, group, quarter), w.step);
}

// Values of a code book for four codes.
inline float32x4_t book_values(const Tiles& w, uint32x4_t code) {
  float32x4_t v = vdupq_n_f32(w.value[vgetq_lane_u32(code, 0)]);
  v = vsetq_lane_f32(w.value[vgetq_lane_u32(code, 1)], v, 1);
  v = vsetq_lane_f32(w.value[vgetq_lane_u32(code, 2)], v, 2);
  return vsetq_lane_f32(w.value[vgetq_lane_u32(code, 3)], v, 3);
}

// Four bytes as int32.
inline int32x4_t four_bytes(const uint8_t* from) {
  uint32_t four = 0;
  __builtin_memcpy(&four, from, 4);
  const uint16x8_t wide = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(wide)));
}

// Sub-scales number `index`.
inline int32x4_t subs(const Tiles& w, const uint8_t* tile, int64_t index, int quarter) {
  return four_bytes(tile + w.sub_offset + index * kTileRows + quarter * 4);
}

// Both halves of IntMatmul::sums in every lane.
inline int32x4_t whole_sum(int32_t halves) {
  return vdupq_n_s32(static_cast<int16_t>(halves & 0xffff) + (halves >> 16));
}

// Zero-points of a group as int32.
inline int32x4_t zeros(const Tiles& w, const uint8_t* tile, int64_t group, int quarter) {
  if (w.zeros_offset < 0) return vdupq_n_s32(w.zero);
  return four_bytes(tile + w.zeros_offset + group * kTileRows + quarter * 4);
}

// Four f16 or bf16 as f32.
template <Store S>
inline float32x4_t widen_halves(const uint8_t* p) {
  const uint16x4_t v = vld1_u16(reinterpret_cast<const uint16_t*>(p));
  if constexpr (S == Store::f16) return vcvt_f32_f16(vreinterpret_f16_u16(v));
  return vreinterpretq_f32_u32(vshll_n_u16(v, 16));
}

inline void store_tile_row(float* y, const float32x4_t (&v)[kQuarters], int64_t columns) {
  if (columns >= kTileRows) {
    for (int h = 0; h < kQuarters; ++h) vst1q_f32(y + 4 * h, v[h]);
    return;
  }
  float all[kTileRows];
  for (int h = 0; h < kQuarters; ++h) vst1q_f32(all + 4 * h, v[h]);
  for (int64_t i = 0; i < columns; ++i) y[i] = all[i];
}

inline void store_tile_row(float* y, const float* from, int64_t columns) {
  float32x4_t v[kQuarters];
  for (int h = 0; h < kQuarters; ++h) v[h] = vld1q_f32(from + 4 * h);
  store_tile_row(y, v, columns);
}

}  // namespace
}  // namespace halftone::kernel::neon
