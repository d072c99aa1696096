// Panels of 6 rows of f32 activations times tiles of any kind: low-bit and 16-bit tiles are widened
// to f32 in L1, 256 k at a time, then a 6 x 16 block of fused multiply-adds (24 sums in registers)
// does the work.
#include <arm_neon.h>

#include <cstdint>

#include "halftone/kernel/entries.h"
#include "halftone/kernel/neon_tiles.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::neon {
namespace {

constexpr int64_t kBlockCols = kMaxUnit;  // 16 KiB of f32 weights
constexpr int64_t kBlockRows = 96;  // M at a time: 6 KiB of sums, and activations that stay in L2

// One panel's share of the running sums.
struct Panel {
  float y[kPanelRows][kTileRows];
};

template <int B>
void widen_codes(const Tiles& w, const uint8_t* base, int64_t k0, int64_t k1, float* out) {
  const uint32x4_t byte = vdupq_n_u32(255);
  for (int64_t k = k0; k < k1; k += kTileCols) {
    const uint8_t* lines = base + w.codes_offset + k / kTileCols * 64 * kBits<B>;
    for (int h = 0; h < kQuarters; ++h) {
      const float32x4_t z = vcvtq_f32_s32(zeros(w, base, k / w.group, h));
      for (int t = 0; t < 8; t += kQuads<B>) {
        // of a book, plain codes: its levels are for integer products
        uint8x16_t q[kQuads<B>];
        unpack<B == kBook ? 4 : B>(w, lines + t / kQuads<B> * kLines<B> * 64 + 16 * h, q);
        for (int i = 0; i < kQuads<B>; ++i) {
          const uint32x4_t v = vreinterpretq_u32_u8(q[i]);
          float* to = out + (k - k0 + 4 * (t + i)) * kTileRows + 4 * h;
          const auto put = [&](int j, uint32x4_t code) {
            vst1q_f32(to + j * kTileRows,
                      B == kBook ? book_values(w, code) : vsubq_f32(vcvtq_f32_u32(code), z));
          };
          put(0, vandq_u32(v, byte));
          put(1, vandq_u32(vshrq_n_u32(v, 8), byte));
          put(2, vandq_u32(vshrq_n_u32(v, 16), byte));
          put(3, vshrq_n_u32(v, 24));
        }
      }
    }
  }
}

template <Store S>
void widen_dense(const uint8_t* from, int64_t count, float* out) {
  for (int64_t i = 0; i < count; i += 4) vst1q_f32(out + i, widen_halves<S>(from + i * 2));
}

// Columns [k0, k1) of a tile as f32 [k][16]: in place for f32 tiles, else in `room`.
const float* widen(const Tiles& w, const uint8_t* base, int64_t k0, int64_t k1, float* room) {
  if (w.store == Store::f32) return reinterpret_cast<const float*>(base) + k0 * kTileRows;
  if (w.store == Store::codes)
    by_kind(w, [&](auto b) { widen_codes<b.kValue>(w, base, k0, k1, room); });
  const uint8_t* from = base + k0 * kTileRows * 2;
  if (w.store == Store::f16) widen_dense<Store::f16>(from, (k1 - k0) * kTileRows, room);
  if (w.store == Store::bf16) widen_dense<Store::bf16>(from, (k1 - k0) * kTileRows, room);
  return room;
}

// A panel times a tile over one unit: y = fma(scale, products, y). w [k][16], x [k][6]. A function
// of its own, with its loops over sums unrolled, so that GCC 12 keeps the sums in registers.
[[gnu::noinline]] void unit(const float* w, const float* x, int64_t count,
                            const float32x4_t (&scale)[kQuarters], Panel& out) {
  static_assert(kPanelRows == 6);
  float32x4_t sum[kPanelRows][kQuarters];
#pragma GCC unroll 6
  for (int i = 0; i < kPanelRows; ++i)
#pragma GCC unroll 4
    for (int h = 0; h < kQuarters; ++h) sum[i][h] = vdupq_n_f32(0);
  do {
    const float32x4_t four = vld1q_f32(x);
    const float32x2_t two = vld1_f32(x + 4);
#pragma GCC unroll 4
    for (int h = 0; h < kQuarters; ++h) {
      const float32x4_t v = vld1q_f32(w + 4 * h);
      sum[0][h] = vfmaq_laneq_f32(sum[0][h], v, four, 0);
      sum[1][h] = vfmaq_laneq_f32(sum[1][h], v, four, 1);
      sum[2][h] = vfmaq_laneq_f32(sum[2][h], v, four, 2);
      sum[3][h] = vfmaq_laneq_f32(sum[3][h], v, four, 3);
      sum[4][h] = vfmaq_lane_f32(sum[4][h], v, two, 0);
      sum[5][h] = vfmaq_lane_f32(sum[5][h], v, two, 1);
    }
    w += kTileRows;
    x += kPanelRows;
  } while (--count > 0);
#pragma GCC unroll 6
  for (int i = 0; i < kPanelRows; ++i) {
    float* y = out.y[i];
#pragma GCC unroll 4
    for (int h = 0; h < kQuarters; ++h)
      vst1q_f32(y + 4 * h, vfmaq_f32(vld1q_f32(y + 4 * h), scale[h], sum[i][h]));
  }
}

// ... over units [u0, u1); `weights` starts at the first of them.
void panel(const FloatMatmul& job, const uint8_t* base, const float* weights, int64_t m, int64_t u0,
           int64_t u1, Panel& out) {
  const Tiles& w = job.w;
  float32x4_t scale[kQuarters];
  for (auto& s : scale) s = vdupq_n_f32(1.0f);
  for (int64_t u = u0; u < u1; ++u) {
    const int64_t begin = u * job.unit;
    if (w.store == Store::codes)
      for (int h = 0; h < kQuarters; ++h)
        scale[h] = plain_scales(w, base, u / job.units_per_group, h);
    unit(weights + (begin - u0 * job.unit) * kTileRows,
         job.x + m * w.padded_cols + begin * kPanelRows,
         smaller(begin + job.unit, w.padded_cols) - begin, scale, out);
  }
}

#include "halftone/kernel/gemm_body.h"
#include "halftone/kernel/gemm_float_body.h"

}  // namespace

void gemm_float(const FloatMatmul& job) noexcept { product(job); }

}  // namespace halftone::kernel::neon
