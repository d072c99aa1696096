// One to eight rows of f32 activations times low-bit tiles ("exact" mode) or dense f32, f16 and
// bf16 tiles; as gemv_float_avx2.cc, with a tile row of 16 in four vectors.
#include <arm_neon.h>

#include <cstdint>

#include "halftone/kernel/entries.h"
#include "halftone/kernel/neon_tiles.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::neon {
namespace {

template <Store S>
inline float32x4_t dense(const uint8_t* p) {
  if constexpr (S == Store::f32) return vld1q_f32(reinterpret_cast<const float*>(p));
  if constexpr (S != Store::f32) return widen_halves<S>(p);
}

// What both walks share: J tiles by R rows of sums.
template <int J, int R>
struct Sums {
  float32x4_t y[R][J][kQuarters];
  inline __attribute__((always_inline)) void clear() {
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
      for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
        for (int h = 0; h < kQuarters; ++h) y[r][j][h] = vdupq_n_f32(0);
  }
  void store(const FloatMatmul& job, const int64_t* tile, int64_t m0) const {
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < J; ++j)
        store_tile_row(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, y[r][j],
                       job.w.rows - tile[j] * kTileRows);
  }
};

// One unit of J dense tiles times R rows: the chains of the unit. A function of its own, with its
// loops over sums unrolled, so that GCC 12 keeps the sums in registers; so is codes_unit.
template <Store S, int J, int R>
[[gnu::noinline]] void dense_unit(const uint8_t* const* base, const float* x, int64_t x_stride,
                                  int64_t begin, int64_t end, Sums<J, R>& out) {
  constexpr int64_t kSize = S == Store::f32 ? 4 : 2;
  Sums<J, R> sum;
  sum.clear();
  const uint8_t* from[J];
  for (int j = 0; j < J; ++j) from[j] = base[j];
  for (int64_t k = begin; k < end; ++k) {
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j) {
#pragma GCC unroll 4
      for (int h = 0; h < kQuarters; ++h) {
        const float32x4_t w = dense<S>(from[j] + (k * kTileRows + 4 * h) * kSize);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
          sum.y[r][j][h] = vfmaq_n_f32(sum.y[r][j][h], w, x[r * x_stride + k]);
      }
    }
  }
  out = sum;
}

template <Store S, int J, int R>
void walk_dense(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  Sums<J, R> total;
  total.clear();
  for (int64_t begin = 0; begin < w.padded_cols; begin += job.unit) {
    const int64_t end = smaller(begin + job.unit, w.padded_cols);
    Sums<J, R> part;
    dense_unit<S, J, R>(base, job.x + m0 * w.padded_cols, w.padded_cols, begin, end, part);
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < J; ++j)
        for (int h = 0; h < kQuarters; ++h)
          total.y[r][j][h] = vaddq_f32(part.y[r][j][h], total.y[r][j][h]);
  }
  total.store(job, tile, m0);
}

// The code that starts at bit Shift of each lane, as a float: the conversion from fixed point
// divides by 2^Shift, exactly, so masked bits need no shift of their own.
template <int B, int Shift>
inline float32x4_t code_at(uint32x4_t v) {
  const uint32x4_t code = vandq_u32(v, vdupq_n_u32(((1u << B) - 1) << Shift));
  if constexpr (Shift == 0) return vcvtq_f32_u32(code);
  if constexpr (Shift != 0) return vcvtq_n_f32_u32(code, Shift);
}

// The lanes that hold quad Q of a turn of turns.h, of one quarter, and where its first code starts.
template <int B, int Q>
inline uint32x4_t quad(const uint8_t* lines, uint32x4_t rest) {
  if constexpr (B == 3 && Q >= 6) return rest;
  if constexpr (kPlanes<B>) return rest;
  constexpr int kPerLine = B == 3 ? 2 : 8 / kBits<B>;
  return vreinterpretq_u32_u8(vld1q_u8(lines + Q / kPerLine * 64));
}
template <int B, int Q>
constexpr int kQuadShift = kPlanes<B> ? 0 : kBits<B>*(Q % (B == 3 ? 2 : 8 / kBits<B>));

inline uint32x4_t rest_of(const uint8_t* lines) {
  return vreinterpretq_u32_u8(third(vld1q_u8(lines), vld1q_u8(lines + 64), vld1q_u8(lines + 128)));
}

// One unit of C tiles times R rows.
template <int B, int C, int R>
[[gnu::noinline]] void codes_unit(const Tiles& w, const uint8_t* const* base, const float* x,
                                  int64_t begin, int64_t end, int64_t group, Sums<C, R>& out) {
  float32x4_t zero[C][kQuarters];
#pragma GCC unroll 2
  for (int c = 0; c < C; ++c)
#pragma GCC unroll 4
    for (int h = 0; h < kQuarters; ++h) zero[c][h] = vcvtq_f32_s32(zeros(w, base[c], group, h));
  Sums<C, R> sum;
  sum.clear();
  for (int64_t k = begin; k < end; k += kTurn<B>) {
    const uint8_t* lines[C];
    uint32x4_t rest[C][kQuarters];
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c)
      lines[c] = base[c] + w.codes_offset + k / kTurn<B> * kTurnLines<B> * 64;
    unrolled<kTurn<B> / 4>([&](auto index) __attribute__((always_inline)) {
      constexpr int Q = decltype(index)::kValue;
      if constexpr (B == 3 && Q == 6) {
#pragma GCC unroll 2
        for (int c = 0; c < C; ++c)
#pragma GCC unroll 4
          for (int h = 0; h < kQuarters; ++h) rest[c][h] = rest_of(lines[c] + 16 * h);
      }
      float32x4_t b[R];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) b[r] = vld1q_f32(x + r * w.padded_cols + k + 4 * Q);
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c)
#pragma GCC unroll 4
        for (int h = 0; h < kQuarters; ++h) {
          if constexpr (kPlanes<B>) {
            uint8x16_t q[8];
            unpack<B>(w, lines[c] + 16 * h, q);
            rest[c][h] = vreinterpretq_u32_u8(q[Q]);
          }
          const uint32x4_t v = quad<B, Q>(lines[c] + 16 * h, rest[c][h]);
          unrolled<4>([&](auto byte) __attribute__((always_inline)) {
            constexpr int I = decltype(byte)::kValue;
            float32x4_t f;
            if constexpr (B == kBook)
              f = book_values(w, vandq_u32(vshlq_u32(v, vdupq_n_s32(-(kQuadShift<B, Q> + 8 * I))),
                                           vdupq_n_u32(15)));
            else
              f = vsubq_f32(code_at < kPlanes<B> ? 8 : B, kQuadShift<B, Q> + 8 * I > (v),
                            zero[c][h]);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r)
              sum.y[r][c][h] = vfmaq_laneq_f32(sum.y[r][c][h], f, b[r], I);
          });
        }
    });
  }
  out = sum;
}

// Z, whether the tiles have zero-points of their own, costs nothing here: one is subtracted in any
// case.
template <int B, int J, int R, bool Z>
void walk_codes(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  constexpr int C = J == 4 ? 2 : J;  // tiles at once: 8 sums, 8 zero-points
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  Sums<J, R> total;
  total.clear();
  for (int64_t u = 0; u < job.units; ++u) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols),
                  group = u / job.units_per_group;
    for (int j = 0; j < J; j += C) {
      Sums<C, R> part;
      codes_unit<B, C, R>(w, base + j, job.x + m0 * w.padded_cols, begin, end, group, part);
      for (int c = 0; c < C; ++c)
        for (int h = 0; h < kQuarters; ++h) {
          const float32x4_t s = plain_scales(w, base[j + c], group, h);
          for (int r = 0; r < R; ++r)
            total.y[r][j + c][h] = vfmaq_f32(total.y[r][j + c][h], s, part.y[r][c][h]);
        }
    }
  }
  total.store(job, tile, m0);
}

constexpr int kNoZerosBits = 0;

#include "halftone/kernel/gemv_float_body.h"

}  // namespace

void gemv_float(const FloatMatmul& job) noexcept { walk_all(job); }

}  // namespace halftone::kernel::neon
