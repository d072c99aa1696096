// Panels of 12 rows of f32 activations times tiles of any kind, two tiles at a time: tiles are
// widened to f32 in L1, 256 k at a time, then a 12 x 32 block of fused multiply-adds (24 sums in
// registers) does the work.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx512 {
namespace {

constexpr int64_t kBlockCols = kMaxUnit;  // 2 x 16 KiB of f32 weights
constexpr int64_t kBlockRows = 96;  // M at a time: 12 KiB of sums, and activations that stay in L2

// One panel's share of the running sums.
struct alignas(64) Panel {
  float y[kPanelRows][2][kTileRows];
};

template <int B>
void widen_codes(const Tiles& w, const uint8_t* base, int64_t k0, int64_t k1, float* out) {
  for (int64_t k = k0; k < k1; k += kTileCols) {
    const Magic zero = magic(zeros(w, base, k / w.group));
    if constexpr (B == kBook) {
      const uint8_t* lines = base + w.codes_offset + k / kTileCols * 64 * 4;
      const __m512 table = _mm512_loadu_ps(w.value);
      unrolled<kTileCols>([&](auto index) __attribute__((always_inline)) {
        constexpr int I = decltype(index)::kValue;
        const __m512i v = load(lines + I / 8 * 64);
        _mm512_store_ps(
            out + I * kTileRows,
            _mm512_permutexvar_ps(_mm512_srli_epi32(v, 8 * (I % 4) + 4 * (I / 4 % 2)), table));
      });
      out += kTileCols * kTileRows;
      continue;
    }
    __m512i q[8];
    unpack<B>(w, base + w.codes_offset + k / kTileCols * 64 * kBits<B>, q);
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
    by_kind(w, [&](auto b) { widen_codes<b.kValue>(w, base, k0, k1, room); });
    return room;
  }
  const uint8_t* from = base + k0 * kTileRows * 2;
  for (int64_t k = 0; k < k1 - k0; ++k) {
    const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(from + k * kTileRows * 2));
    const __m512 f = w.store == Store::f16
                         ? _mm512_cvtph_ps(v)
                         : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
    _mm512_store_ps(room + k * kTileRows, f);
  }
  return room;
}

// The first R rows of a panel times T tiles over one unit: y = fma(scale, products, y). w[t]
// [k][16], x [k][kPanelRows]. A function of its own, with its loops over sums unrolled, so that GCC
// 12 keeps the sums in registers.
template <int T, int R>
[[gnu::noinline]] void unit(const float* w0, const float* w1, const float* x, int64_t count,
                            const __m512 (&scale)[2], Panel& out) {
  __m512 sum[R][T];
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) sum[i][t] = _mm512_setzero_ps();
  int64_t k = 0;
  do {
    const __m512 v0 = _mm512_load_ps(w0 + k * kTileRows), v1 = _mm512_load_ps(w1 + k * kTileRows);
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i) {
      const __m512 b = _mm512_set1_ps(x[k * kPanelRows + i]);
      sum[i][0] = _mm512_fmadd_ps(v0, b, sum[i][0]);
      if constexpr (T == 2) sum[i][1] = _mm512_fmadd_ps(v1, b, sum[i][1]);
    }
  } while (++k < count);
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t)
      _mm512_store_ps(out.y[i][t],
                      _mm512_fmadd_ps(scale[t], sum[i][t], _mm512_load_ps(out.y[i][t])));
}

// ... over units [u0, u1); weights[t] starts at the first of them.
template <int T, int R>
void panel(const FloatMatmul& job, const uint8_t* const* base, const float* const* weights,
           int64_t m, int64_t u0, int64_t u1, Panel& out) {
  const Tiles& w = job.w;
  __m512 scale[2] = {_mm512_set1_ps(1.0f), _mm512_set1_ps(1.0f)};
  for (int64_t u = u0; u < u1; ++u) {
    const int64_t begin = u * job.unit, at = (begin - u0 * job.unit) * kTileRows;
    if (w.store == Store::codes)
      for (int t = 0; t < T; ++t) scale[t] = plain_scales(w, base[t], u / job.units_per_group);
    unit<T, R>(weights[0] + at, weights[T - 1] + at, job.x + m * w.padded_cols + begin * kPanelRows,
               smaller(begin + job.unit, w.padded_cols) - begin, scale, out);
  }
}

template <int T>
void tiles(const FloatMatmul& job, int64_t tile, int64_t m0, int64_t m1, Panel* out, float* room) {
  const Tiles& w = job.w;
  __builtin_memset(out, 0,
                   static_cast<uint64_t>((m1 - m0 + kPanelRows - 1) / kPanelRows) * sizeof(Panel));
  const int64_t step = kBlockCols / job.unit;
  for (int64_t u0 = 0; u0 < job.units; u0 += step) {
    const int64_t u1 = smaller(u0 + step, job.units);
    const uint8_t* base[T];
    const float* weights[T];
    for (int t = 0; t < T; ++t) {
      base[t] = w.data + (tile + t) * w.tile_bytes;
      weights[t] = widen(w, base[t], u0 * job.unit, smaller(u1 * job.unit, w.padded_cols),
                         room + t * kBlockCols * kTileRows);
    }
    for (int64_t m = m0; m < m1; m += kPanelRows) {
      Panel& p = out[(m - m0) / kPanelRows];
      if (m1 - m > kPanelRows / 2)
        panel<T, kPanelRows>(job, base, weights, m, u0, u1, p);
      else
        panel<T, kPanelRows / 2>(job, base, weights, m, u0, u1, p);
    }
  }
  for (int64_t m = m0; m < m1; ++m)
    for (int t = 0; t < T; ++t) {
      const int64_t n = (tile + t) * kTileRows;
      _mm512_mask_storeu_ps(job.y + m * job.ldy + n, first_lanes(w.rows - n),
                            _mm512_load_ps(out[(m - m0) / kPanelRows].y[(m - m0) % kPanelRows][t]));
    }
}

}  // namespace

void gemm_float(const FloatMatmul& job) noexcept {
  alignas(64) float room[2 * kBlockCols * kTileRows];
  Panel out[kBlockRows / kPanelRows];
  for (int64_t m = 0; m < job.m; m += kBlockRows) {
    const int64_t m1 = smaller(m + kBlockRows, job.m);
    int64_t tile = job.tile_begin;
    for (; tile + 2 <= job.tile_end; tile += 2) tiles<2>(job, tile, m, m1, out, room);
    if (tile < job.tile_end) tiles<1>(job, tile, m, m1, out, room);
  }
}

}  // namespace halftone::kernel::avx512
