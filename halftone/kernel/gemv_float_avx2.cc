// One to eight rows of f32 activations times low-bit tiles ("exact" mode) or dense f32, f16 and
// bf16 tiles.
//
// The order of additions is part of the contract (matmul.h): one fused multiply-add after another
// in k, so speed comes from several tiles in flight, not from splitting a sum.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx2_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx2 {
namespace {

template <Store S>
inline __m256 dense(const uint8_t* p) {
  if constexpr (S == Store::f32) return _mm256_load_ps(reinterpret_cast<const float*>(p));
  const __m128i v = _mm_load_si128(reinterpret_cast<const __m128i*>(p));
  if constexpr (S == Store::f16) return _mm256_cvtph_ps(v);
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
}

template <Store S, int J, int R>
void walk_dense(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  constexpr int64_t kSize = S == Store::f32 ? 4 : 2;
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  __m256 y[R][J][2];
  for (auto& row : y)
    for (auto& t : row) t[0] = t[1] = _mm256_setzero_ps();
  const float* x = job.x + m0 * w.padded_cols;
  for (int64_t begin = 0; begin < w.padded_cols; begin += job.unit) {
    const int64_t end = smaller(begin + job.unit, w.padded_cols);
    __m256 p[R][J][2];
    for (auto& row : p)
      for (auto& t : row) t[0] = t[1] = _mm256_setzero_ps();
    for (int64_t k = begin; k < end; ++k) {
      for (int j = 0; j < J; ++j) {
        const __m256 w0 = dense<S>(base[j] + k * kTileRows * kSize),
                     w1 = dense<S>(base[j] + (k * kTileRows + 8) * kSize);
        for (int r = 0; r < R; ++r) {
          const __m256 b = _mm256_broadcast_ss(x + r * w.padded_cols + k);
          p[r][j][0] = _mm256_fmadd_ps(w0, b, p[r][j][0]);
          p[r][j][1] = _mm256_fmadd_ps(w1, b, p[r][j][1]);
        }
      }
    }
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < J; ++j)
        for (int h = 0; h < 2; ++h) y[r][j][h] = _mm256_add_ps(p[r][j][h], y[r][j][h]);
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      store_tile_row(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, y[r][j][0], y[r][j][1],
                     w.rows - tile[j] * kTileRows);
}

// float(code - zero), exactly, without unpacking to bytes first.
//   b = 2, 3: a permute looks the value up; it uses the low 3 bits of a lane, so a shift is all it
//             needs (b = 2: the table repeats).
//   book:     two permutes look it up in halves of 8, and bit 3 of the code chooses.
//   others:   the code is or-ed into the mantissa of 2^23, and 2^23 + zero is subtracted.
template <int B, bool Z>
struct Decoder {
  __m256 table, high, zero;  // high: of a book; zero: 2^23 + zero where codes become floats by it
  void set(const Tiles& w, const uint8_t* base, int64_t group, int half) {
    zero = _mm256_cvtepi32_ps(zeros(w, base, group, half));
    if constexpr (B != 2 && B != 3) zero = _mm256_add_ps(zero, _mm256_set1_ps(8388608.0f));
    const __m256i codes = B == 2 ? _mm256_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3)
                                 : _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    table = _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(Z ? 0 : w.zero)));
    if constexpr (B == kBook) {
      table = _mm256_loadu_ps(w.value);
      high = _mm256_loadu_ps(w.value + 8);
    }
  }
  // Column I of a turn; `rest` is what rest_of() made of the lines.
  template <int I>
  __m256 value(const uint8_t* lines, const Rest<B>& rest) const {
    constexpr int kQuad = I / 4, kByte = I % 4;
    if constexpr (B == kBook) {
      const __m256i v = _mm256_srli_epi32(load(lines), 8 * kByte + 4 * kQuad);
      return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table, v), _mm256_permutevar8x32_ps(high, v),
                              _mm256_castsi256_ps(_mm256_slli_epi32(v, 28)));
    } else if constexpr (B == 2 || B == 3) {
      constexpr bool kRest = B == 3 && kQuad >= 6;
      constexpr int kLine = B == 2 ? kQuad / 4 : kQuad / 2;
      constexpr int kShift = 8 * kByte + (B == 2 ? 2 * (kQuad % 4) : 3 * (kQuad % 2));
      const __m256i v = kRest ? rest.quad[0] : load(lines + (kRest ? 0 : kLine) * 64);
      const __m256 code = _mm256_permutevar8x32_ps(table, _mm256_srli_epi32(v, kShift));
      return Z ? _mm256_sub_ps(code, zero) : code;
    } else {
      constexpr int kShift = 8 * kByte + (B == 4 ? 4 * kQuad : 0);  // of the code in its lane
      constexpr int kHeld = kPlanes<B> ? 8 : B;  // bits of a code and what is above it
      __m256i v = _mm256_srli_epi32(
          kPlanes<B> ? rest.quad[kPlanes<B> ? kQuad : 0] : load(lines + (B == 8 ? kQuad : 0) * 64),
          kShift);
      if constexpr (kShift + kHeld < 32)
        v = _mm256_and_si256(v, _mm256_set1_epi32((1 << kHeld) - 1));
      return _mm256_sub_ps(_mm256_or_ps(_mm256_castsi256_ps(v), _mm256_set1_ps(8388608.0f)), zero);
    }
  }
};

// One unit of C tiles times R rows: p = the chains of the unit. A function of its own, with its
// loops over sums unrolled, so that GCC 12 keeps the sums in registers.
template <int B, int C, int R, bool Z>
[[gnu::noinline]] void codes_unit(const Tiles& w, const uint8_t* const* base, const float* x,
                                  int64_t begin, int64_t end, int64_t group, __m256 (&p)[R][C][2]) {
  Decoder<B, Z> decoder[C][2];
  for (int c = 0; c < C; ++c)
    for (int h = 0; h < 2; ++h) decoder[c][h].set(w, base[c], group, h);
  __m256 sum[R][C][2];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) sum[r][c][0] = sum[r][c][1] = _mm256_setzero_ps();
  for (int64_t k = begin; k < end; k += kTurn<B>) {
    const uint8_t* lines[C];
    Rest<B> rest[C][2];
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c) {
      lines[c] = base[c] + w.codes_offset + k / kTurn<B> * kTurnLines<B> * 64;
      for (int h = 0; h < 2; ++h) rest_of<B>(w, lines[c] + 32 * h, rest[c][h]);
    }
    unrolled<kTurn<B>>([&](auto index) __attribute__((always_inline)) {
      constexpr int I = decltype(index)::kValue;
#pragma GCC unroll 2
      for (int c = 0; c < C; ++c) {
        const __m256 v0 = decoder[c][0].template value<I>(lines[c], rest[c][0]),
                     v1 = decoder[c][1].template value<I>(lines[c] + 32, rest[c][1]);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          const __m256 b = _mm256_broadcast_ss(x + r * w.padded_cols + k + I);
          sum[r][c][0] = _mm256_fmadd_ps(v0, b, sum[r][c][0]);
          sum[r][c][1] = _mm256_fmadd_ps(v1, b, sum[r][c][1]);
        }
      }
    });
  }
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int c = 0; c < C; ++c)
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) p[r][c][h] = sum[r][c][h];
}

template <int B, int J, int R, bool Z>
void walk_codes(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  // tiles at once: 4 chains hide the latency of a fused multiply-add
  constexpr int C = J == 4 ? 2 : J;
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  __m256 y[R][J][2];
  for (auto& row : y)
    for (auto& t : row) t[0] = t[1] = _mm256_setzero_ps();
  for (int64_t u = 0; u < job.units; ++u) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols),
                  group = u / job.units_per_group;
    for (int j = 0; j < J; j += C) {
      __m256 p[R][C][2];
      codes_unit<B, C, R, Z>(w, base + j, job.x + m0 * w.padded_cols, begin, end, group, p);
      for (int c = 0; c < C; ++c)
        for (int h = 0; h < 2; ++h) {
          const __m256 s = plain_scales(w, base[j + c], group, h);
          for (int r = 0; r < R; ++r)
            y[r][j + c][h] = _mm256_fmadd_ps(s, p[r][c][h], y[r][j + c][h]);
        }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      store_tile_row(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, y[r][j][0], y[r][j][1],
                     w.rows - tile[j] * kTileRows);
}

constexpr int kNoZerosBits = 3;

#include "halftone/kernel/gemv_float_body.h"

}  // namespace

void gemv_float(const FloatMatmul& job) noexcept { walk_all(job); }

}  // namespace halftone::kernel::avx2
