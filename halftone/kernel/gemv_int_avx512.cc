// One to eight rows of int8 activations times low-bit tiles: as gemv_int_avx2.cc, but a line is one
// register and vpdpbusd sums u8 by s8 straight into int32, so no int16 limit exists and 8 bits are
// like the others.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx512 {
namespace {

constexpr int64_t kAhead = 2048;  // bytes

// J tiles (numbers in `tile`) times R rows of x from row m0. Two: two-level scales.
template <int B, int J, int R, bool Two>
void walk(const IntMatmul& job, const int64_t* tile, int64_t m0) {
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  const int8_t* x = job.x + m0 * w.padded_cols;
  __m512 y[R][J];
  for (auto& row : y)
    for (auto& t : row) t = _mm512_setzero_ps();
  __m512i whole[R][J];  // Two: of a group, the sums so far times their sub-scales
  if constexpr (Two)
    for (auto& row : whole)
      for (auto& t : row) t = _mm512_setzero_si512();
  Place place(w, job.units_per_group);
  for (int64_t u = 0; u < job.units; ++u, place.next()) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols);
    constexpr int C = R * J < 6 ? 2 : 1;  // chains: vpdpbusd has a latency of 5
    __m512i sum[R][J][C];
    for (auto& row : sum)
      for (auto& t : row)
        for (auto& chain : t) chain = _mm512_setzero_si512();
    for (int64_t k = begin; k < end; k += kTileCols) {
      for (int j = 0; j < J; ++j) {
        __m512i q[8];
        const uint8_t* lines = base[j] + w.codes_offset + k / kTileCols * 64 * kBits<B>;
        // Few streams and much to compute: the next lines are not asked for early enough.
        if constexpr (R > 2)
          for (int i = 0; i < kBits<B>; ++i)
            _mm_prefetch(lines + kAhead + i * 64, _MM_HINT_T0);
        unpack<B>(w, lines, q);
        for (int i = 0; i < 8; ++i)
          for (int r = 0; r < R; ++r)
            sum[r][j][i % C] = _mm512_dpbusd_epi32(sum[r][j][i % C], q[i],
                                                   broadcast4(x + r * w.padded_cols + k + 4 * i));
      }
    }
    const int64_t group = place.group;
    const bool ends = place.ends() || u + 1 == job.units;
    for (int j = 0; j < J; ++j) {
      const __m512i z = zero_pairs(w, base[j], group);
      for (int r = 0; r < R; ++r) {
        __m512i& d = sum[r][j][0];
        if constexpr (C == 2) d = _mm512_add_epi32(d, sum[r][j][1]);
        d = _mm512_sub_epi32(
            d, _mm512_madd_epi16(z, _mm512_set1_epi32(job.sums[(m0 + r) * job.units + u])));
      }
      if constexpr (Two) {
        // Sums fit int16 and sub-scales have no high half, so these are 32-bit products.
        const __m512i sub = subs(w, base[j], place.sub);
        for (int r = 0; r < R; ++r)
          whole[r][j] = _mm512_dpwssd_epi32(whole[r][j], sum[r][j][0], sub);
        if (!ends) continue;
      }
      const __m512 s = scales(w, base[j], group);
      for (int r = 0; r < R; ++r) {
        const __m512 d = _mm512_cvtepi32_ps(Two ? whole[r][j] : sum[r][j][0]);
        const float a = job.a[(m0 + r) * job.units + u];
        y[r][j] = _mm512_fmadd_ps(d, _mm512_mul_ps(s, _mm512_set1_ps(a)), y[r][j]);
        if constexpr (Two) whole[r][j] = _mm512_setzero_si512();
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      _mm512_mask_storeu_ps(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows,
                            first_lanes(w.rows - tile[j] * kTileRows), y[r][j]);
}

template <int B, bool Two>
void tiles(const IntMatmul& job) {
  // Up to 8 sums: more rows, fewer tiles at once.
  by_tiles<4>(job.tile_begin, job.tile_end, job.m, [&](auto tiles, const int64_t* tile) {
    constexpr int J = decltype(tiles)::kValue;
    by_rows<J == 1   ? 8
            : J == 2 ? 4
                     : 1>(job.m, [&](auto rows, int64_t m) {
      walk<B, J, decltype(rows)::kValue, Two>(job, tile, m);
    });
  });
}

}  // namespace

void gemv_int(const IntMatmul& job) noexcept {
  by_kind(job.w, [&](auto b) {
    if constexpr (b.kValue <= 4)
      if (job.w.sub_offset >= 0) return tiles<b.kValue, true>(job);
    tiles<b.kValue, false>(job);
  });
}

}  // namespace halftone::kernel::avx512
