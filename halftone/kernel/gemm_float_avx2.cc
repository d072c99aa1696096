// Panels of 6 rows of f32 activations times tiles of any kind: low-bit and 16-bit tiles are widened
// to f32 in L1, 256 k at a time, then a 6 x 16 block of fused multiply-adds (12 sums in registers)
// does the work.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx2_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx2 {
namespace {

constexpr int64_t kBlockCols = kMaxUnit;  // 16 KiB of f32 weights
constexpr int64_t kBlockRows = 96;  // M at a time: 6 KiB of sums, and activations that stay in L2

// One panel's share of the running sums.
struct alignas(32) Panel {
  float y[kPanelRows][kTileRows];
};

template <int B>
void widen_codes(const Tiles& w, const uint8_t* base, int64_t k0, int64_t k1, float* out) {
  const __m256i byte = _mm256_set1_epi32(255);
  for (int64_t k = k0; k < k1; k += kTileCols) {
    for (int h = 0; h < 2; ++h) {
      const __m256 z = _mm256_cvtepi32_ps(zeros(w, base, k / w.group, h));
      __m256i q[8];
      // of a book, plain codes: its levels are for integer products
      unpack<kBits<B>>(w, base + w.codes_offset + k / kTileCols * 64 * kBits<B> + h * 32, q);
      for (int i = 0; i < kTileCols; ++i) {
        const __m256i code = _mm256_and_si256(_mm256_srli_epi32(q[i / 4], 8 * (i % 4)), byte);
        _mm256_store_ps(out + (k - k0 + i) * kTileRows + h * 8,
                        B == kBook ? _mm256_i32gather_ps(w.value, code, 4)
                                   : _mm256_sub_ps(_mm256_cvtepi32_ps(code), z));
      }
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
  for (int64_t i = 0; i < (k1 - k0) * kTileRows; i += 8) {
    const __m128i v = _mm_load_si128(reinterpret_cast<const __m128i*>(from + i * 2));
    const __m256 f = w.store == Store::f16
                         ? _mm256_cvtph_ps(v)
                         : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
    _mm256_store_ps(room + i, f);
  }
  return room;
}

// A panel times a tile over one unit: y = fma(scale, products, y). w [k][16], x [k][kPanelRows]. A
// function of its own, with its loops over sums unrolled, so that GCC 12 keeps the sums in
// registers.
[[gnu::noinline]] void unit(const float* w, const float* x, int64_t count, const __m256 (&scale)[2],
                            Panel& out) {
  __m256 sum[kPanelRows][2];
#pragma GCC unroll 6
  for (int i = 0; i < kPanelRows; ++i) sum[i][0] = sum[i][1] = _mm256_setzero_ps();
  int64_t k = 0;
  do {
    const __m256 w0 = _mm256_load_ps(w + k * kTileRows), w1 = _mm256_load_ps(w + k * kTileRows + 8);
#pragma GCC unroll 6
    for (int i = 0; i < kPanelRows; ++i) {
      const __m256 b = _mm256_broadcast_ss(x + k * kPanelRows + i);
      sum[i][0] = _mm256_fmadd_ps(w0, b, sum[i][0]);
      sum[i][1] = _mm256_fmadd_ps(w1, b, sum[i][1]);
    }
  } while (++k < count);
#pragma GCC unroll 6
  for (int i = 0; i < kPanelRows; ++i) {
    float* y = out.y[i];
    _mm256_store_ps(y, _mm256_fmadd_ps(scale[0], sum[i][0], _mm256_load_ps(y)));
    _mm256_store_ps(y + 8, _mm256_fmadd_ps(scale[1], sum[i][1], _mm256_load_ps(y + 8)));
  }
}

// ... over units [u0, u1); `weights` starts at the first of them.
void panel(const FloatMatmul& job, const uint8_t* base, const float* weights, int64_t m, int64_t u0,
           int64_t u1, Panel& out) {
  const Tiles& w = job.w;
  __m256 scale[2] = {_mm256_set1_ps(1.0f), _mm256_set1_ps(1.0f)};
  for (int64_t u = u0; u < u1; ++u) {
    const int64_t begin = u * job.unit;
    if (w.store == Store::codes)
      for (int h = 0; h < 2; ++h) scale[h] = plain_scales(w, base, u / job.units_per_group, h);
    unit(weights + (begin - u0 * job.unit) * kTileRows,
         job.x + m * w.padded_cols + begin * kPanelRows,
         smaller(begin + job.unit, w.padded_cols) - begin, scale, out);
  }
}

#include "halftone/kernel/gemm_body.h"
#include "halftone/kernel/gemm_float_body.h"

}  // namespace

void gemm_float(const FloatMatmul& job) noexcept { product(job); }

}  // namespace halftone::kernel::avx2
