// One to eight rows of f32 activations times low-bit tiles ("exact" mode) or dense f32, f16 and bf16 tiles; as
// gemv_float_avx2.cc, with a tile row of 16 in one register.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"

namespace halftone::kernel::avx512 {
namespace {

template <Store S>
inline __m512 dense(const uint8_t* p) {
  if constexpr (S == Store::f32) return _mm512_load_ps(reinterpret_cast<const float*>(p));
  const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  if constexpr (S == Store::f16) return _mm512_cvtph_ps(v);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

// What both walks share: the sums y[r][j], and at the end their rows.
template <int J, int R>
struct Sums {
  __m512 y[R][J];
  Sums() {
    for (auto& row : y)
      for (auto& t : row) t = _mm512_setzero_ps();
  }
  void store(const FloatMatmul& job, const int64_t* tile, int64_t m0) const {
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < J; ++j)
        _mm512_mask_storeu_ps(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, first_lanes(job.w.rows - tile[j] * kTileRows), y[r][j]);
  }
};

template <Store S, int J, int R>
void walk_dense(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  constexpr int64_t kSize = S == Store::f32 ? 4 : 2;
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  const float* x = job.x + m0 * w.padded_cols;
  Sums<J, R> total;
  for (int64_t begin = 0; begin < w.padded_cols; begin += job.unit) {
    const int64_t end = smaller(begin + job.unit, w.padded_cols);
    Sums<J, R> part;
    for (int64_t k = begin; k < end; ++k) {
      for (int j = 0; j < J; ++j) {
        const __m512 v = dense<S>(base[j] + k * kTileRows * kSize);
        for (int r = 0; r < R; ++r) part.y[r][j] = _mm512_fmadd_ps(v, _mm512_set1_ps(x[r * w.padded_cols + k]), part.y[r][j]);
      }
    }
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < J; ++j) total.y[r][j] = _mm512_add_ps(part.y[r][j], total.y[r][j]);
  }
  total.store(job, tile, m0);
}

template <int B, int J, int R>
void walk_codes(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  const float* x = job.x + m0 * w.padded_cols;
  Sums<J, R> total;
  for (int64_t u = 0; u < job.units; ++u) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols);
    const int64_t group = u / job.units_per_group;
    Sums<J, R> part;
    Magic zero[J];
    for (int j = 0; j < J; ++j) zero[j] = magic(zeros(w, base[j], group));
    for (int64_t k = begin; k < end; k += kTileCols) {
      __m512i q[J][8];
      for (int j = 0; j < J; ++j) unpack<B>(base[j] + w.codes_offset + k / kTileCols * 64 * B, q[j]);
      for (int i = 0; i < 8; ++i) {
        const auto step = [&]<int C>() {
          for (int r = 0; r < R; ++r) {
            const __m512 b = _mm512_set1_ps(x[r * w.padded_cols + k + 4 * i + C]);
            for (int j = 0; j < J; ++j) part.y[r][j] = _mm512_fmadd_ps(centred<C>(q[j][i], zero[j]), b, part.y[r][j]);
          }
        };
        step.template operator()<0>();
        step.template operator()<1>();
        step.template operator()<2>();
        step.template operator()<3>();
      }
    }
    for (int j = 0; j < J; ++j) {
      const __m512 s = scales(w, base[j], group);
      for (int r = 0; r < R; ++r) total.y[r][j] = _mm512_fmadd_ps(s, part.y[r][j], total.y[r][j]);
    }
  }
  total.store(job, tile, m0);
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

}  // namespace halftone::kernel::avx512
