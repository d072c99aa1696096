// Panels of 12 rows of f32 activations times tiles of any kind, two tiles at a time: tiles are widened to f32 in L1, 256 k at a time,
// then a 12 x 32 block of fused multiply-adds (24 sums in registers) does the work.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"

namespace halftone::kernel::avx512 {
namespace {

constexpr int64_t kBlockCols = kMaxUnit;  // 2 x 16 KiB of f32 weights

// sums[row][tile] = 0, then fma over count k in order. w[t] [count][16], x [count][kPanelRows].
template <int T, int R>
inline void block(const float* const* w, const float* x, int64_t count, __m512 (&sum)[R][T]) {
  for (auto& row : sum)
    for (auto& v : row) v = _mm512_setzero_ps();
  for (int64_t k = 0; k < count; ++k) {
    __m512 v[T];
    for (int t = 0; t < T; ++t) v[t] = _mm512_load_ps(w[t] + k * kTileRows);
    for (int i = 0; i < R; ++i) {
      const __m512 b = _mm512_set1_ps(x[k * kPanelRows + i]);
      for (int t = 0; t < T; ++t) sum[i][t] = _mm512_fmadd_ps(v[t], b, sum[i][t]);
    }
  }
}

template <int B>
void widen_codes(const Tiles& w, const uint8_t* base, int64_t k0, int64_t k1, float* out) {
  for (int64_t k = k0; k < k1; k += kTileCols) {
    const Magic zero = magic(zeros(w, base, k / w.group));
    __m512i q[8];
    unpack<B>(base + w.codes_offset + k / kTileCols * 64 * B, q);
    for (int i = 0; i < 8; ++i, out += 4 * kTileRows) {
      _mm512_store_ps(out, centred<0>(q[i], zero));
      _mm512_store_ps(out + 16, centred<1>(q[i], zero));
      _mm512_store_ps(out + 32, centred<2>(q[i], zero));
      _mm512_store_ps(out + 48, centred<3>(q[i], zero));
    }
  }
}

// Columns [k0, k1) of a tile as f32 [k][16]: in place for f32 tiles, else in `room`.
const float* widen(const Tiles& w, const uint8_t* base, int64_t k0, int64_t k1, float* room) {
  if (w.store == Store::f32) return reinterpret_cast<const float*>(base) + k0 * kTileRows;
  if (w.store == Store::codes) {
    switch (w.bits) {
      case 2: widen_codes<2>(w, base, k0, k1, room); break;
      case 3: widen_codes<3>(w, base, k0, k1, room); break;
      case 4: widen_codes<4>(w, base, k0, k1, room); break;
      default: widen_codes<8>(w, base, k0, k1, room);
    }
    return room;
  }
  const uint8_t* from = base + k0 * kTileRows * 2;
  for (int64_t k = 0; k < k1 - k0; ++k) {
    const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(from + k * kTileRows * 2));
    const __m512 f = w.store == Store::f16 ? _mm512_cvtph_ps(v) : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
    _mm512_store_ps(room + k * kTileRows, f);
  }
  return room;
}

template <int T, int R>
void panel(const FloatMatmul& job, const uint8_t* const* base, const float* const* weights, int64_t m, int64_t u0, int64_t u1, int64_t tile) {
  const Tiles& w = job.w;
  const int64_t rows = smaller(R, job.m - m), k0 = u0 * job.unit;
  float* out = job.y + m * job.ldy + tile * kTileRows;
  alignas(64) float y[R][T][kTileRows];
  __mmask16 columns[T];
  for (int t = 0; t < T; ++t) columns[t] = first_lanes(w.rows - (tile + t) * kTileRows);
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t)
      _mm512_store_ps(y[i][t], u0 == 0 || i >= rows ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(columns[t], out + i * job.ldy + t * kTileRows));
  for (int64_t u = u0; u < u1; ++u) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols);
    const float* from[T];
    for (int t = 0; t < T; ++t) from[t] = weights[t] + (begin - k0) * kTileRows;
    __m512 sum[R][T];
    block<T, R>(from, job.x + m * w.padded_cols + begin * kPanelRows, end - begin, sum);
    for (int t = 0; t < T; ++t) {
      const __m512 s = w.store == Store::codes ? scales(w, base[t], u / job.units_per_group) : _mm512_set1_ps(1.0f);
      for (int i = 0; i < R; ++i) _mm512_store_ps(y[i][t], _mm512_fmadd_ps(s, sum[i][t], _mm512_load_ps(y[i][t])));
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int t = 0; t < T; ++t) _mm512_mask_storeu_ps(out + i * job.ldy + t * kTileRows, columns[t], _mm512_load_ps(y[i][t]));
}

template <int T>
void tiles(const FloatMatmul& job, int64_t tile, int64_t u0, int64_t u1, float* room) {
  const Tiles& w = job.w;
  const uint8_t* base[T];
  const float* weights[T];
  for (int t = 0; t < T; ++t) {
    base[t] = w.data + (tile + t) * w.tile_bytes;
    weights[t] = widen(w, base[t], u0 * job.unit, smaller(u1 * job.unit, w.padded_cols), room + t * kBlockCols * kTileRows);
  }
  for (int64_t m = 0; m < job.m; m += kPanelRows) {
    if (job.m - m > kPanelRows / 2)
      panel<T, kPanelRows>(job, base, weights, m, u0, u1, tile);
    else
      panel<T, kPanelRows / 2>(job, base, weights, m, u0, u1, tile);
  }
}

}  // namespace

void gemm_float(const FloatMatmul& job) noexcept {
  alignas(64) float room[2 * kBlockCols * kTileRows];
  const int64_t step = kBlockCols / job.unit;
  for (int64_t u0 = 0; u0 < job.units; u0 += step) {
    const int64_t u1 = smaller(u0 + step, job.units);
    int64_t tile = job.tile_begin;
    for (; tile + 2 <= job.tile_end; tile += 2) tiles<2>(job, tile, u0, u1, room);
    if (tile < job.tile_end) tiles<1>(job, tile, u0, u1, room);
  }
}

}  // namespace halftone::kernel::avx512
