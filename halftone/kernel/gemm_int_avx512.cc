// Panels of 12 rows of int8 activations times low-bit tiles, two tiles at a time: a 12 x 32 block
// is 24 int32 sums in registers, which leaves room for 2 weights and a broadcast. Tiles are
// unpacked once per K block to a byte per code; 8-bit tiles are read as they are.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx512 {
namespace {

constexpr int64_t kBlockCols = 512;  // K at a time: 16 KiB of unpacked weights
constexpr int64_t kBlockRows = 96;   // M at a time: 12 KiB of sums, and activations that stay in L2

// One panel's share of the running sums.
struct alignas(64) Panel {
  float y[kPanelRows][2][kTileRows];
};

struct Step {
  const uint8_t* base[2];   // tiles
  const uint8_t* codes[2];  // their K block, a byte per code: [quad][16][4]
  int64_t u0, u1;           // units of the K block
};

// What a unit needs of the tiles: codes, scales, and minus the zero-points as two int16 in a lane;
// with two-level scales sub-scales too, and whether the unit begins and ends a group.
struct Unit {
  const uint8_t* w[2];  // [quad][16][4]
  __m512 scale[2];
  __m512i minus_zero[2], sub[2];
  bool begins, ends;
};

// With two-level scales, of a group: the sums so far times their sub-scales.
struct alignas(64) Whole {
  int32_t sum[kPanelRows][2][kTileRows];
};

// The first R rows of a panel times T tiles over one unit. x [quad][kPanelRows][4]. Z: the tiles
// have zero-points of their own. Two: two-level scales. A function of its own, with its loops over
// sums unrolled, so that GCC 12 keeps the sums in registers.
template <int T, int R, bool Z, bool Two>
[[gnu::noinline]] void unit(const Unit& in, const int8_t* x, int64_t quads, const int32_t* sums,
                            const float* a, Whole& whole, Panel& out) {
  // Start from -zero * X.
  __m512i sum[R][T];
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i) {
    const __m512i total = _mm512_set1_epi32(sums[i]);
    sum[i][0] = _mm512_madd_epi16(in.minus_zero[0], total);
    if constexpr (T == 2) sum[i][1] = Z ? _mm512_madd_epi16(in.minus_zero[1], total) : sum[i][0];
  }
  const uint8_t *w0 = in.w[0], *w1 = in.w[T - 1];
  int64_t q = 0;
  do {
    const __m512i v0 = load(w0 + q * 64), v1 = load(w1 + q * 64);
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i) {
      const __m512i b = broadcast4(x + q * kPanelRows * 4 + i * 4);
      sum[i][0] = _mm512_dpbusd_epi32(sum[i][0], v0, b);
      if constexpr (T == 2) sum[i][1] = _mm512_dpbusd_epi32(sum[i][1], v1, b);
    }
  } while (++q < quads);
  if constexpr (Two) {
    // Sums fit int16 and sub-scales have no high half, so these are 32-bit products.
    if (in.begins) {
#pragma GCC unroll 12
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
        for (int t = 0; t < T; ++t)
          _mm512_store_si512(whole.sum[i][t], _mm512_madd_epi16(sum[i][t], in.sub[t]));
    } else if (!in.ends) {
#pragma GCC unroll 12
      for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
        for (int t = 0; t < T; ++t) {
          int32_t* all = whole.sum[i][t];
          _mm512_store_si512(all, _mm512_dpwssd_epi32(load(all), sum[i][t], in.sub[t]));
        }
    }
    if (!in.ends) return;
#pragma GCC unroll 12
    for (int i = 0; i < R; ++i)
#pragma GCC unroll 2
      for (int t = 0; t < T; ++t) {
        const __m512i all = load(whole.sum[i][t]);
        sum[i][t] = in.begins ? all : _mm512_dpwssd_epi32(all, sum[i][t], in.sub[t]);
      }
  }
#pragma GCC unroll 12
  for (int i = 0; i < R; ++i) {
    const __m512 ai = _mm512_set1_ps(a[i]);
#pragma GCC unroll 2
    for (int t = 0; t < T; ++t) {
      float* y = out.y[i][t];
      _mm512_store_ps(y, _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[i][t]),
                                         _mm512_mul_ps(in.scale[t], ai), _mm512_load_ps(y)));
    }
  }
}

template <int T, int R, bool Z, bool Two>
void panel(const IntMatmul& job, const Step& step, int64_t m, Panel& out) {
  const Tiles& w = job.w;
  Whole whole;
  for (int64_t u = step.u0; u < step.u1; ++u) {
    const int64_t begin = u * job.unit,
                  quads = (smaller(begin + job.unit, w.padded_cols) - begin) / 4;
    const int64_t group = u / job.units_per_group, at = m * job.units + u * kPanelRows;
    Unit in;
    for (int t = 0; t < T; ++t) {
      in.w[t] = step.codes[t] + (begin - step.u0 * job.unit) * kTileRows;
      in.scale[t] = scales(w, step.base[t], group);
      in.minus_zero[t] =
          _mm512_sub_epi16(_mm512_setzero_si512(), zero_pairs(w, step.base[t], group));
      if constexpr (Two) in.sub[t] = subs(w, step.base[t], begin / w.sub);
    }
    if constexpr (Two) {
      in.begins = u % job.units_per_group == 0;
      in.ends = u + 1 == job.units || (u + 1) % job.units_per_group == 0;
    }
    unit<T, R, Z, Two>(in, job.x + m * w.padded_cols + begin * kPanelRows, quads, job.sums + at,
                       job.a + at, whole, out);
  }
}

template <int B, int T, bool Two>
void tiles(const IntMatmul& job, int64_t tile, int64_t m0, int64_t m1, Panel* out, uint8_t* room) {
  const Tiles& w = job.w;
  __builtin_memset(out, 0,
                   static_cast<uint64_t>((m1 - m0 + kPanelRows - 1) / kPanelRows) * sizeof(Panel));
  // K blocks of whole groups where sums run over them (a group is at most 256 then).
  const int64_t span = Two ? job.units_per_group : 1, units = kBlockCols / job.unit / span * span;
  Step step;
  for (step.u0 = 0; step.u0 < job.units; step.u0 += units) {
    step.u1 = smaller(step.u0 + units, job.units);
    const int64_t k0 = step.u0 * job.unit, k1 = smaller(step.u1 * job.unit, w.padded_cols);
    for (int t = 0; t < T; ++t) {
      step.base[t] = w.data + (tile + t) * w.tile_bytes;
      const uint8_t* lines = step.base[t] + w.codes_offset + k0 / kTileCols * 64 * kBits<B>;
      step.codes[t] = lines;
      if constexpr (B != 8) {
        uint8_t* to = room + t * kBlockCols * kTileRows;
        step.codes[t] = to;
        for (int64_t k = k0; k < k1; k += kTileCols, lines += 64 * kBits<B>) {
          __m512i q[8];
          unpack<B>(w, lines, q);
          for (int i = 0; i < 8; ++i, to += 64) _mm512_store_si512(to, q[i]);
        }
      }
    }
    for (int64_t m = m0; m < m1; m += kPanelRows) {
      Panel& p = out[(m - m0) / kPanelRows];
      if (m == m0)  // the next tiles come while these are multiplied
        for (int t = 0; t < T; ++t)
          prefetch(
              step.base[t] + T * w.tile_bytes + w.codes_offset + k0 / kTileCols * 64 * kBits<B>,
              (k1 - k0) / kTileCols * 64 * kBits<B>);
      const bool half = m1 - m <= kPanelRows / 2;
      if (w.zeros_offset >= 0)
        half ? panel<T, kPanelRows / 2, true, false>(job, step, m, p)
             : panel<T, kPanelRows, true, false>(job, step, m, p);
      else
        half ? panel<T, kPanelRows / 2, false, Two>(job, step, m, p)
             : panel<T, kPanelRows, false, Two>(job, step, m, p);
    }
  }
  for (int64_t m = m0; m < m1; ++m)
    for (int t = 0; t < T; ++t) {
      const int64_t n = (tile + t) * kTileRows;
      _mm512_mask_storeu_ps(job.y + m * job.ldy + n, first_lanes(w.rows - n),
                            _mm512_load_ps(out[(m - m0) / kPanelRows].y[(m - m0) % kPanelRows][t]));
    }
}

template <int B, bool Two>
void product(const IntMatmul& job) {
  alignas(64) uint8_t room[2 * kBlockCols * kTileRows];
  Panel out[kBlockRows / kPanelRows];
  for (int64_t m = 0; m < job.m; m += kBlockRows) {
    const int64_t m1 = smaller(m + kBlockRows, job.m);
    int64_t tile = job.tile_begin;
    for (; tile + 2 <= job.tile_end; tile += 2) tiles<B, 2, Two>(job, tile, m, m1, out, room);
    if (tile < job.tile_end) tiles<B, 1, Two>(job, tile, m, m1, out, room);
  }
}

}  // namespace

void gemm_int(const IntMatmul& job) noexcept {
  by_kind(job.w, [&](auto b) {
    if constexpr (b.kValue <= 4)
      if (job.w.sub_offset >= 0) return product<b.kValue, true>(job);
    product<b.kValue, false>(job);
  });
}

}  // namespace halftone::kernel::avx512
