// One to eight rows of f32 activations times low-bit tiles ("exact" mode) or dense f32, f16 and bf16 tiles.
//
// The order of additions is part of the contract (matmul.h): one fused multiply-add after another in k, so speed comes from
// several tiles in flight, not from splitting a sum.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx2_tiles.h"
#include "halftone/kernel/entries.h"

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
        const __m256 w0 = dense<S>(base[j] + k * kTileRows * kSize), w1 = dense<S>(base[j] + (k * kTileRows + 8) * kSize);
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
      store_tile_row(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, y[r][j][0], y[r][j][1], w.rows - tile[j] * kTileRows);
}

// float(code - zero), exactly, without unpacking to bytes first.
//   b = 2, 3: a permute looks the value up; it uses the low 3 bits of a lane, so a shift is all it needs (b = 2: the table repeats).
//   b = 4, 8: the code is or-ed into the mantissa of a power of two where its bits count units, and that power + zero is subtracted.
template <int B, bool Z>
struct Decoder {
  __m256 table, zero;
  void set(const Tiles& w, const uint8_t* base, int64_t group, int half) {
    zero = _mm256_cvtepi32_ps(zeros(w, base, group, half));
    const __m256i codes = B == 2 ? _mm256_setr_epi32(0, 1, 2, 3, 0, 1, 2, 3) : _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    table = _mm256_cvtepi32_ps(_mm256_sub_epi32(codes, _mm256_set1_epi32(Z ? 0 : w.zero)));
  }
  // Column I of a block of 32; `t` is the third line form's rest (third()).
  template <int I>
  __m256 value(const uint8_t* lines, __m256i t) const {
    constexpr int kQuad = I / 4, kByte = I % 4;
    if constexpr (B <= 3) {
      constexpr bool kRest = B == 3 && kQuad >= 6;
      constexpr int kLine = B == 2 ? kQuad / 4 : kQuad / 2;
      constexpr int kShift = 8 * kByte + (B == 2 ? 2 * (kQuad % 4) : 3 * (kQuad % 2));
      const __m256i v = kRest ? t : load(lines + (kRest ? 0 : kLine) * 64);
      const __m256 code = _mm256_permutevar8x32_ps(table, _mm256_srli_epi32(v, kShift));
      return Z ? _mm256_sub_ps(code, zero) : code;
    } else {
      constexpr int kShift = B == 8 ? 8 * kByte : 8 * kByte + 4 * (kQuad % 2);  // of the code in its lane
      constexpr int kTop = B == 8 ? 255 : 15;
      const __m256i v = load(lines + (B == 8 ? kQuad : kQuad / 2) * 64);
      if constexpr (kShift + B <= 23) {  // stays inside the mantissa: 2^(23 - shift) has units there
        const __m256i bits = _mm256_and_si256(v, _mm256_set1_epi32(kTop << kShift));
        const __m256 power = _mm256_set1_ps(static_cast<float>(1 << (23 - kShift)));
        return _mm256_sub_ps(_mm256_or_ps(_mm256_castsi256_ps(bits), power), _mm256_add_ps(power, zero));
      } else {
        const __m256i shifted = _mm256_srli_epi32(v, kShift);
        const __m256i bits = kShift + B == 32 ? shifted : _mm256_and_si256(shifted, _mm256_set1_epi32(kTop));
        const __m256 power = _mm256_set1_ps(8388608.0f);
        return _mm256_sub_ps(_mm256_or_ps(_mm256_castsi256_ps(bits), power), _mm256_add_ps(power, zero));
      }
    }
  }
};

// b = 3: bits 6-7 of the three lines put together, quad 6 in the low 3 bits of each byte, quad 7 above.
template <int B>
inline __m256i third(const uint8_t* lines) {
  if constexpr (B != 3) return _mm256_setzero_si256();
  const __m256i t0 = _mm256_and_si256(_mm256_srli_epi16(load(lines), 6), _mm256_set1_epi8(3));
  const __m256i t1 = _mm256_and_si256(_mm256_srli_epi16(load(lines + 64), 4), _mm256_set1_epi8(12));
  const __m256i t2 = _mm256_and_si256(_mm256_srli_epi16(load(lines + 128), 2), _mm256_set1_epi8(48));
  return _mm256_or_si256(_mm256_or_si256(t0, t1), t2);
}

// f(integral_constant-like) for I in 0..31, in order.
template <int I>
struct Index {
  static constexpr int kValue = I;
};
template <int I = 0, class F>
inline __attribute__((always_inline)) void for_32(const F& f) {
  if constexpr (I < 32) {
    f(Index<I>());
    for_32<I + 1>(f);
  }
}

// One unit of C tiles times R rows: p = the chains of the unit.
template <int B, int C, int R, bool Z>
inline void codes_unit(const Tiles& w, const uint8_t* const* base, const float* x, int64_t begin, int64_t end, int64_t group, __m256 (&p)[R][C][2]) {
  Decoder<B, Z> decoder[C][2];
  for (int c = 0; c < C; ++c)
    for (int h = 0; h < 2; ++h) decoder[c][h].set(w, base[c], group, h);
  for (auto& row : p)
    for (auto& tile : row) tile[0] = tile[1] = _mm256_setzero_ps();
  for (int64_t k = begin; k < end; k += kTileCols) {
    const uint8_t* lines[C];
    __m256i rest[C][2];
    for (int c = 0; c < C; ++c) {
      lines[c] = base[c] + w.codes_offset + k / kTileCols * 64 * B;
      for (int h = 0; h < 2; ++h) rest[c][h] = third<B>(lines[c] + 32 * h);
    }
    for_32([&](auto index) __attribute__((always_inline)) {
      constexpr int I = decltype(index)::kValue;
      for (int c = 0; c < C; ++c) {
        const __m256 v0 = decoder[c][0].template value<I>(lines[c], rest[c][0]), v1 = decoder[c][1].template value<I>(lines[c] + 32, rest[c][1]);
        for (int r = 0; r < R; ++r) {
          const __m256 b = _mm256_broadcast_ss(x + r * w.padded_cols + k + I);
          p[r][c][0] = _mm256_fmadd_ps(v0, b, p[r][c][0]);
          p[r][c][1] = _mm256_fmadd_ps(v1, b, p[r][c][1]);
        }
      }
    });
  }
}

template <int B, int J, int R, bool Z>
void walk_codes(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  constexpr int C = J == 4 ? 2 : J;  // tiles at once: 4 chains hide the latency of a fused multiply-add
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  __m256 y[R][J][2];
  for (auto& row : y)
    for (auto& t : row) t[0] = t[1] = _mm256_setzero_ps();
  for (int64_t u = 0; u < job.units; ++u) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols), group = u / job.units_per_group;
    for (int j = 0; j < J; j += C) {
      __m256 p[R][C][2];
      codes_unit<B, C, R, Z>(w, base + j, job.x + m0 * w.padded_cols, begin, end, group, p);
      for (int c = 0; c < C; ++c)
        for (int h = 0; h < 2; ++h) {
          const __m256 s = scales(w, base[j + c], group, h);
          for (int r = 0; r < R; ++r) y[r][j + c][h] = _mm256_fmadd_ps(s, p[r][c][h], y[r][j + c][h]);
        }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      store_tile_row(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, y[r][j][0], y[r][j][1], w.rows - tile[j] * kTileRows);
}

template <int B, int J, int R>
void walk_codes(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  if (B <= 3 && job.w.zeros_offset < 0)
    walk_codes<B, J, R, false>(job, tile, m0);
  else
    walk_codes<B, J, R, true>(job, tile, m0);
}

template <int J, int R>
void walk(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  switch (job.w.store) {
    case Store::f32: return walk_dense<Store::f32, J, R>(job, tile, m0);
    case Store::f16: return walk_dense<Store::f16, J, R>(job, tile, m0);
    case Store::bf16: return walk_dense<Store::bf16, J, R>(job, tile, m0);
    case Store::codes: break;
  }
  switch (job.w.bits) {
    case 2: return walk_codes<2, J, R>(job, tile, m0);
    case 3: return walk_codes<3, J, R>(job, tile, m0);
    case 4: return walk_codes<4, J, R>(job, tile, m0);
    default: return walk_codes<8, J, R>(job, tile, m0);
  }
}

}  // namespace

void gemv_float(const FloatMatmul& job) noexcept {
  int64_t t = job.tile_begin;
  if (job.m == 1) {
    const int64_t part = (job.tile_end - t) / 4;
    for (int64_t i = 0; i < part; ++i) {
      const int64_t four[4] = {t + i, t + part + i, t + 2 * part + i, t + 3 * part + i};
      walk<4, 1>(job, four, 0);
    }
    t += 4 * part;
  }
  for (; t < job.tile_end; ++t) {
    for (int64_t m = 0; m < job.m;) {
      const int64_t left = job.m - m, take = left > 4 ? (left + 1) / 2 : left;
      if (take == 4) walk<1, 4>(job, &t, m);
      if (take == 3) walk<1, 3>(job, &t, m);
      if (take == 2) walk<1, 2>(job, &t, m);
      if (take == 1) walk<1, 1>(job, &t, m);
      m += take;
    }
  }
}

}  // namespace halftone::kernel::avx2
