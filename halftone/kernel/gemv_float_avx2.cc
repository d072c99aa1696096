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

template <int B, int J, int R>
void walk_codes(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  const __m256i byte = _mm256_set1_epi32(255);
  __m256 y[R][J][2];
  for (auto& row : y)
    for (auto& t : row) t[0] = t[1] = _mm256_setzero_ps();
  const float* x = job.x + m0 * w.padded_cols;
  for (int64_t u = 0; u < job.units; ++u) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols);
    const int64_t group = u / job.units_per_group;
    __m256 p[R][J][2], z[J][2];
    for (auto& row : p)
      for (auto& t : row) t[0] = t[1] = _mm256_setzero_ps();
    for (int j = 0; j < J; ++j)
      for (int h = 0; h < 2; ++h) z[j][h] = _mm256_cvtepi32_ps(zeros(w, base[j], group, h));
    for (int64_t k = begin; k < end; k += kTileCols) {
      for (int j = 0; j < J; ++j) {
        __m256i q[2][8];
        const uint8_t* lines = base[j] + w.codes_offset + k / kTileCols * 64 * B;
        unpack<B>(lines, q[0]);
        unpack<B>(lines + 32, q[1]);
        for (int i = 0; i < kTileCols; ++i) {
          __m256 v[2];
          for (int h = 0; h < 2; ++h) {
            const __m256i code = _mm256_and_si256(_mm256_srli_epi32(q[h][i / 4], 8 * (i % 4)), byte);
            v[h] = _mm256_sub_ps(_mm256_cvtepi32_ps(code), z[j][h]);
          }
          for (int r = 0; r < R; ++r) {
            const __m256 b = _mm256_broadcast_ss(x + r * w.padded_cols + k + i);
            p[r][j][0] = _mm256_fmadd_ps(v[0], b, p[r][j][0]);
            p[r][j][1] = _mm256_fmadd_ps(v[1], b, p[r][j][1]);
          }
        }
      }
    }
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < J; ++j)
        for (int h = 0; h < 2; ++h) y[r][j][h] = _mm256_fmadd_ps(scales(w, base[j], group, h), p[r][j][h], y[r][j][h]);
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      store_tile_row(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, y[r][j][0], y[r][j][1], w.rows - tile[j] * kTileRows);
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
