// Panels of 6 rows of int8 activations times low-bit tiles (prefill): a 6 x 16 block is 24 int32
// sums in registers, which leaves 8 for 4 vectors of weights and the 24 activations of a quad.
// Tiles are unpacked once per K block to the signed bytes that sdot takes, so the inner loop is the
// same for every width.
#include <arm_neon.h>

#include <cstdint>

#include "halftone/kernel/entries.h"
#include "halftone/kernel/neon_tiles.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::neon {
namespace {

constexpr int64_t kBlockCols = 512;  // K at a time: 8 KiB of unpacked weights
constexpr int64_t kBlockRows = 96;   // M at a time: 6 KiB of sums, and activations that stay in L2

// One panel's share of the running sums.
struct Panel {
  float y[kPanelRows][kTileRows];
};

// What a unit needs of the tile: codes as signed_codes() makes them, scales, zero-points moved
// alike.
struct Unit {
  const uint8_t* w;  // [quad][16][4]
  float32x4_t scale[kQuarters];
  int32x4_t zero[kQuarters];
  int32x4_t sub[kQuarters];  // two-level scales
  bool two, starts, ends;    // two levels; this unit starts, ends a group
};

// Two-level scales: of a group, sums times sub-scales.
using Whole = int32x4_t[kPanelRows][kQuarters];

// A panel times a tile over one unit. x [quad][6][4]. A function of its own, with its loops over
// sums unrolled, so that GCC 12 keeps the sums in registers.
[[gnu::noinline]] void unit(const Unit& in, const int8_t* x, int64_t quads, const int32_t* x_sums,
                            const float* a, Whole& whole, Panel& out) {
  static_assert(kPanelRows == 6);
  int32x4_t sum[kPanelRows][kQuarters];
#pragma GCC unroll 6
  for (int i = 0; i < kPanelRows; ++i)
#pragma GCC unroll 4
    for (int h = 0; h < kQuarters; ++h) sum[i][h] = vdupq_n_s32(0);
  const uint8_t* w = in.w;
  do {
    const int8x16_t four = vld1q_s8(x);
    const int8x8_t two = vld1_s8(x + 16);
#pragma GCC unroll 4
    for (int h = 0; h < kQuarters; ++h) {
      const int8x16_t v = vreinterpretq_s8_u8(vld1q_u8(w + 16 * h));
      sum[0][h] = vdotq_laneq_s32(sum[0][h], v, four, 0);
      sum[1][h] = vdotq_laneq_s32(sum[1][h], v, four, 1);
      sum[2][h] = vdotq_laneq_s32(sum[2][h], v, four, 2);
      sum[3][h] = vdotq_laneq_s32(sum[3][h], v, four, 3);
      sum[4][h] = vdotq_lane_s32(sum[4][h], v, two, 0);
      sum[5][h] = vdotq_lane_s32(sum[5][h], v, two, 1);
    }
    w += 64;
    x += 4 * kPanelRows;
  } while (--quads > 0);
#pragma GCC unroll 6
  for (int i = 0; i < kPanelRows; ++i) {
    const int32x4_t total = whole_sum(x_sums[i]);
    float* y = out.y[i];
#pragma GCC unroll 4
    for (int h = 0; h < kQuarters; ++h) {
      int32x4_t d = vmlsq_s32(sum[i][h], in.zero[h], total);
      if (in.two) {
        d = vmulq_s32(d, in.sub[h]);
        if (!in.starts) d = vaddq_s32(d, whole[i][h]);
        whole[i][h] = d;
        if (!in.ends) continue;
      }
      vst1q_f32(y + 4 * h,
                vfmaq_f32(vld1q_f32(y + 4 * h), vcvtq_f32_s32(d), vmulq_n_f32(in.scale[h], a[i])));
    }
  }
}

// ... over units [u0, u1); `unpacked` starts at the first of them.
template <int B>
void panel(const IntMatmul& job, const uint8_t* base, const uint8_t* unpacked, int64_t m,
           int64_t u0, int64_t u1, Panel& out) {
  const Tiles& w = job.w;
  Whole whole;
  for (int64_t u = u0; u < u1; ++u) {
    const int64_t begin = u * job.unit,
                  quads = (smaller(begin + job.unit, w.padded_cols) - begin) / 4;
    const int64_t group = u / job.units_per_group, at = m * job.units + u * kPanelRows;
    Unit in;
    in.two = w.sub_offset >= 0;
    in.starts = u % job.units_per_group == 0;
    in.ends = u + 1 == job.units || (u + 1) % job.units_per_group == 0;
    in.w = unpacked + (begin - u0 * job.unit) * kTileRows;
    for (int h = 0; h < kQuarters; ++h) {
      in.scale[h] = scales(w, base, group, h);
      in.zero[h] = vsubq_s32(zeros(w, base, group, h), vdupq_n_s32(kOffset<B>));
      if (in.two) in.sub[h] = subs(w, base, begin / w.sub, h);
    }
    unit(in, job.x + m * w.padded_cols + begin * kPanelRows, quads, job.sums + at, job.a + at,
         whole, out);
  }
}

// 32 k of a tile to signed bytes, [8 quads][16 rows][4].
template <int B>
void unpack_tile(const Tiles& w, const uint8_t* lines, uint8_t* out) {
  for (int t = 0; t < 8; t += kQuads<B>, lines += kLines<B> * 64)
    for (int h = 0; h < kQuarters; ++h) {
      uint8x16_t q[kQuads<B>];
      unpack<B>(w, lines + 16 * h, q);
      for (int i = 0; i < kQuads<B>; ++i)
        vst1q_u8(out + (t + i) * 64 + 16 * h, vreinterpretq_u8_s8(signed_codes<B>(q[i])));
    }
}

#include "halftone/kernel/gemm_body.h"

template <int B>
void product(const IntMatmul& job) {
  alignas(64) uint8_t unpacked[kBlockCols * kTileRows];
  by_blocks(
      job,
      [&](const uint8_t* base, int64_t k0, int64_t k1) {
        for (int64_t k = k0; k < k1; k += kTileCols)
          unpack_tile<B>(job.w, base + job.w.codes_offset + k / kTileCols * 64 * kBits<B>,
                         unpacked + (k - k0) * kTileRows);
      },
      [&](const uint8_t* base, int64_t m, int64_t u0, int64_t u1, Panel& out) {
        panel<B>(job, base, unpacked, m, u0, u1, out);
      });
}

}  // namespace

void gemm_int(const IntMatmul& job) noexcept {
  by_kind(job.w, [&](auto b) { product<b.kValue>(job); });
}

}  // namespace halftone::kernel::neon
