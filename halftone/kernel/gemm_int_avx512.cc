// Panels of 12 rows of int8 activations times low-bit tiles, two tiles at a time: a 12 x 32 block is 24 int32 sums in registers,
// which leaves room for 2 weights and a broadcast. Tiles are unpacked once per K block to a byte per code; 8-bit tiles are
// read as they are.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"

namespace halftone::kernel::avx512 {
namespace {

constexpr int64_t kBlockCols = 512;  // K at a time: 16 KiB of unpacked weights

// T tiles times R rows (the first R of a panel of kPanelRows) over one unit.
//   w[t] [quad][16][4], x [quad][kPanelRows][4]
template <int T, int R>
inline void unit_block(const uint8_t* const* w, const int8_t* x, int64_t quads, __m512i (&sum)[R][T]) {
  for (int64_t q = 0; q < quads; ++q) {
    __m512i v[T];
    for (int t = 0; t < T; ++t) v[t] = load(w[t] + q * 64);
    for (int i = 0; i < R; ++i) {
      const __m512i b = broadcast4(x + q * kPanelRows * 4 + i * 4);
      for (int t = 0; t < T; ++t) sum[i][t] = _mm512_dpbusd_epi32(sum[i][t], v[t], b);
    }
  }
}

template <int T, int R>
void panel(const IntMatmul& job, const uint8_t* const* base, const uint8_t* const* codes, int64_t m, int64_t u0, int64_t u1, float* const* out,
           const __mmask16* columns) {
  const Tiles& w = job.w;
  const int64_t rows = smaller(R, job.m - m);
  alignas(64) float y[R][T][kTileRows];
  for (int i = 0; i < R; ++i)
    for (int t = 0; t < T; ++t)
      _mm512_store_ps(y[i][t], u0 == 0 || i >= rows ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(columns[t], out[t] + i * job.ldy));
  const int64_t k0 = u0 * job.unit;
  for (int64_t u = u0; u < u1; ++u) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols);
    const int64_t group = u / job.units_per_group, at = m * job.units + u * kPanelRows;
    __m512i sum[R][T];
    for (int t = 0; t < T; ++t) {
      const __m512i z = zeros(w, base[t], group);
      for (int i = 0; i < R; ++i)
        sum[i][t] = _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_madd_epi16(z, _mm512_set1_epi32(job.sums[at + i])));
    }
    const uint8_t* from[T];
    for (int t = 0; t < T; ++t) from[t] = codes[t] + (begin - k0) * kTileRows;
    unit_block<T, R>(from, job.x + m * w.padded_cols + begin * kPanelRows, (end - begin) / 4, sum);
    for (int t = 0; t < T; ++t) {
      const __m512 s = scales(w, base[t], group);
      for (int i = 0; i < R; ++i) {
        const __m512 sa = _mm512_mul_ps(s, _mm512_set1_ps(job.a[at + i]));
        _mm512_store_ps(y[i][t], _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i][t]), sa, _mm512_load_ps(y[i][t])));
      }
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int t = 0; t < T; ++t) _mm512_mask_storeu_ps(out[t] + i * job.ldy, columns[t], _mm512_load_ps(y[i][t]));
}

template <int B, int T>
void tiles(const IntMatmul& job, int64_t tile, int64_t u0, int64_t u1, uint8_t* room) {
  const Tiles& w = job.w;
  const int64_t k0 = u0 * job.unit, k1 = smaller(u1 * job.unit, w.padded_cols);
  const uint8_t *base[T], *codes[T];
  __mmask16 columns[T];
  for (int t = 0; t < T; ++t) {
    base[t] = w.data + (tile + t) * w.tile_bytes;
    columns[t] = first_lanes(w.rows - (tile + t) * kTileRows);
    const uint8_t* lines = base[t] + w.codes_offset + k0 / kTileCols * 64 * B;
    codes[t] = lines;
    if constexpr (B != 8) {
      uint8_t* to = room + t * kBlockCols * kTileRows;
      codes[t] = to;
      for (int64_t k = k0; k < k1; k += kTileCols, lines += 64 * B) {
        __m512i q[8];
        unpack<B>(lines, q);
        for (int i = 0; i < 8; ++i, to += 64) _mm512_store_si512(to, q[i]);
      }
    }
  }
  for (int64_t m = 0; m < job.m; m += kPanelRows) {
    float* out[T];
    for (int t = 0; t < T; ++t) out[t] = job.y + m * job.ldy + (tile + t) * kTileRows;
    if (job.m - m > kPanelRows / 2)
      panel<T, kPanelRows>(job, base, codes, m, u0, u1, out, columns);
    else
      panel<T, kPanelRows / 2>(job, base, codes, m, u0, u1, out, columns);
  }
}

template <int B>
void product(const IntMatmul& job) {
  alignas(64) uint8_t room[2 * kBlockCols * kTileRows];
  const int64_t step = kBlockCols / job.unit;
  for (int64_t u0 = 0; u0 < job.units; u0 += step) {
    const int64_t u1 = smaller(u0 + step, job.units);
    int64_t tile = job.tile_begin;
    for (; tile + 2 <= job.tile_end; tile += 2) tiles<B, 2>(job, tile, u0, u1, room);
    if (tile < job.tile_end) tiles<B, 1>(job, tile, u0, u1, room);
  }
}

}  // namespace

void gemm_int(const IntMatmul& job) noexcept {
  switch (job.w.bits) {
    case 2: return product<2>(job);
    case 3: return product<3>(job);
    case 4: return product<4>(job);
    default: return product<8>(job);
  }
}

}  // namespace halftone::kernel::avx512
