// One to eight rows of int8 activations times low-bit tiles: weights are unpacked in registers and
// read once, and sdot sums bytes straight into int32. A lane is an output row; one vector of 16
// activations serves 4 quads, chosen by lane.
//
// A thread's range of tiles is cut into 4 equal parts and one tile of each is walked at once, as in
// gemv_int_avx2.cc: 16 sums, which hide the latency of a dot product.
#include <arm_neon.h>

#include <cstdint>

#include "halftone/kernel/entries.h"
#include "halftone/kernel/neon_tiles.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::neon {
namespace {

// J tiles times R rows over the k of one unit, codes as signed_codes() makes them. A function of
// its own, with its loops over sums unrolled, so that GCC 12 keeps the sums in registers.
template <int B, int J, int R>
[[gnu::noinline]] void unit(const Tiles& w, const uint8_t* const* lines, const int8_t* x,
                            int64_t x_stride, int64_t count, int32x4_t (&out)[R][J][kQuarters]) {
  const uint8_t* from[J];
  for (int j = 0; j < J; ++j) from[j] = lines[j];
  int32x4_t sum[R][J][kQuarters];
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
      for (int h = 0; h < kQuarters; ++h) sum[r][j][h] = vdupq_n_s32(0);
  do {
    int8x16_t b[R][2];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      b[r][0] = vld1q_s8(x + r * x_stride);
      b[r][1] = vld1q_s8(x + r * x_stride + 16);
    }
    unrolled<8 / kQuads<B>>([&](auto turn) __attribute__((always_inline)) {
      constexpr int T = decltype(turn)::kValue;
#pragma GCC unroll 4
      for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
        for (int h = 0; h < kQuarters; ++h) {
          uint8x16_t q[kQuads<B>];
          unpack<B>(w, from[j] + T * kLines<B> * 64 + h * 16, q);
          unrolled<kQuads<B>>([&](auto index) __attribute__((always_inline)) {
            constexpr int I = decltype(index)::kValue, Q = T * kQuads<B> + I;
            const int8x16_t v = signed_codes<B>(q[I]);
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r)
              sum[r][j][h] = vdotq_laneq_s32(sum[r][j][h], v, b[r][Q / 4], Q % 4);
          });
        }
    });
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j) from[j] += 64 * kBits<B>;
    x += kTileCols;
  } while ((count -= kTileCols) > 0);
#pragma GCC unroll 4
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
      for (int h = 0; h < kQuarters; ++h) out[r][j][h] = sum[r][j][h];
}

// J tiles (numbers in `tile`) times R rows of x from row m0.
template <int B, int J, int R>
void walk(const IntMatmul& job, const int64_t* tile, int64_t m0) {
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  const int8_t* x = job.x + m0 * w.padded_cols;
  float32x4_t y[R][J][kQuarters];
  for (auto& row : y)
    for (auto& t : row)
      for (auto& v : t) v = vdupq_n_f32(0);
  const bool two = w.sub_offset >= 0;
  int32x4_t whole[R][J][kQuarters];  // two-level scales: of a group, sums times sub-scales
  Place place(w, job.units_per_group);
  for (int64_t u = 0; u < job.units; ++u, place.next()) {
    const bool starts = place.begins(), ends = place.ends() || u + 1 == job.units;
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols);
    const uint8_t* lines[J];
    for (int j = 0; j < J; ++j)
      lines[j] = base[j] + w.codes_offset + begin / kTileCols * 64 * kBits<B>;
    int32x4_t sum[R][J][kQuarters];
    unit<B, J, R>(w, lines, x + begin, w.padded_cols, end - begin, sum);
    const int64_t group = place.group;
    for (int j = 0; j < J; ++j) {
      for (int h = 0; h < kQuarters; ++h) {
        const float32x4_t s = scales(w, base[j], group, h);
        const int32x4_t z = vsubq_s32(zeros(w, base[j], group, h), vdupq_n_s32(kOffset<B>));
        for (int r = 0; r < R; ++r) {
          const int64_t at = (m0 + r) * job.units + u;
          int32x4_t d = vmlsq_s32(sum[r][j][h], z, whole_sum(job.sums[at]));
          if (two) {
            const int32x4_t part = vmulq_s32(d, subs(w, base[j], place.sub, h));
            d = whole[r][j][h] = starts ? part : vaddq_s32(whole[r][j][h], part);
            if (!ends) continue;
          }
          y[r][j][h] = vfmaq_f32(y[r][j][h], vcvtq_f32_s32(d), vmulq_n_f32(s, job.a[at]));
        }
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      store_tile_row(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, y[r][j],
                     w.rows - tile[j] * kTileRows);
}

// 16 sums of 4 lanes: four tiles by one row, two by two, one by four.
template <int B>
void tiles(const IntMatmul& job) {
  by_tiles<2>(job.tile_begin, job.tile_end, job.m, [&](auto tiles, const int64_t* tile) {
    constexpr int J = decltype(tiles)::kValue;
    by_rows<4 / J>(job.m,
                   [&](auto rows, int64_t m) { walk<B, J, decltype(rows)::kValue>(job, tile, m); });
  });
}

}  // namespace

void gemv_int(const IntMatmul& job) noexcept {
  by_kind(job.w, [&](auto b) { tiles<b.kValue>(job); });
}

}  // namespace halftone::kernel::neon
