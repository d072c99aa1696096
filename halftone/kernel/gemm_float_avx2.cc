// Panels of 6 rows of f32 activations times tiles of any kind: low-bit and 16-bit tiles are widened to f32 in L1, 256 k at a
// time, then a 6 x 16 block of fused multiply-adds (12 sums in registers) does the work.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx2_tiles.h"
#include "halftone/kernel/entries.h"

namespace halftone::kernel::avx2 {
namespace {

constexpr int64_t kBlockCols = kMaxUnit;  // 16 KiB of f32 weights

// sums[row][half] = 0, then fma over count k in order. w [count][16], x [count][6].
inline void block(const float* w, const float* x, int64_t count, __m256 (&sums)[6][2]) {
  for (auto& row : sums) row[0] = row[1] = _mm256_setzero_ps();
  for (int64_t k = 0; k < count; ++k) {
    const __m256 w0 = _mm256_load_ps(w + k * 16), w1 = _mm256_load_ps(w + k * 16 + 8);
    for (int i = 0; i < 6; ++i) {
      const __m256 b = _mm256_broadcast_ss(x + k * 6 + i);
      sums[i][0] = _mm256_fmadd_ps(w0, b, sums[i][0]);
      sums[i][1] = _mm256_fmadd_ps(w1, b, sums[i][1]);
    }
  }
}

template <int B>
void widen_codes(const Tiles& w, const uint8_t* base, int64_t k0, int64_t k1, float* out) {
  const __m256i byte = _mm256_set1_epi32(255);
  for (int64_t k = k0; k < k1; k += kTileCols) {
    for (int h = 0; h < 2; ++h) {
      const __m256 z = _mm256_cvtepi32_ps(zeros(w, base, k / w.group, h));
      __m256i q[8];
      unpack<B>(base + w.codes_offset + k / kTileCols * 64 * B + h * 32, q);
      for (int i = 0; i < kTileCols; ++i) {
        const __m256i code = _mm256_and_si256(_mm256_srli_epi32(q[i / 4], 8 * (i % 4)), byte);
        _mm256_store_ps(out + (k - k0 + i) * kTileRows + h * 8, _mm256_sub_ps(_mm256_cvtepi32_ps(code), z));
      }
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
  for (int64_t i = 0; i < (k1 - k0) * kTileRows; i += 8) {
    const __m128i v = _mm_load_si128(reinterpret_cast<const __m128i*>(from + i * 2));
    const __m256 f = w.store == Store::f16 ? _mm256_cvtph_ps(v) : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16));
    _mm256_store_ps(room + i, f);
  }
  return room;
}

}  // namespace

void gemm_float(const FloatMatmul& job) noexcept {
  constexpr int64_t R = kPanelRows;
  const Tiles& w = job.w;
  const bool codes = w.store == Store::codes;
  const int64_t step_units = kBlockCols / job.unit;
  alignas(64) float room[kBlockCols * kTileRows];
  alignas(32) float y[R][kTileRows];
  for (int64_t u0 = 0; u0 < job.units; u0 += step_units) {
    const int64_t u1 = smaller(u0 + step_units, job.units);
    const int64_t k0 = u0 * job.unit, k1 = smaller(u1 * job.unit, w.padded_cols);
    for (int64_t tile = job.tile_begin; tile < job.tile_end; ++tile) {
      const uint8_t* base = w.data + tile * w.tile_bytes;
      const int64_t columns = smaller(kTileRows, w.rows - tile * kTileRows);
      const float* weights = widen(w, base, k0, k1, room);
      for (int64_t m = 0; m < job.m; m += R) {
        const int64_t rows = smaller(R, job.m - m);
        float* out = job.y + m * job.ldy + tile * kTileRows;
        if (u0 == 0)
          __builtin_memset(y, 0, sizeof(y));
        else
          for (int64_t i = 0; i < rows; ++i)
            for (int64_t c = 0; c < columns; ++c) y[i][c] = out[i * job.ldy + c];
        for (int64_t u = u0; u < u1; ++u) {
          const int64_t begin = u * job.unit, end = smaller(begin + job.unit, k1);
          __m256 sums[R][2];
          block(weights + (begin - k0) * kTileRows, job.x + m * w.padded_cols + begin * R, end - begin, sums);
          for (int h = 0; h < 2; ++h) {
            const __m256 s = codes ? scales(w, base, u / job.units_per_group, h) : _mm256_set1_ps(1.0f);
            for (int64_t i = 0; i < R; ++i)
              _mm256_store_ps(y[i] + 8 * h, _mm256_fmadd_ps(s, sums[i][h], _mm256_load_ps(y[i] + 8 * h)));
          }
        }
        for (int64_t i = 0; i < rows; ++i)
          store_tile_row(out + i * job.ldy, _mm256_load_ps(y[i]), _mm256_load_ps(y[i] + 8), columns);
      }
    }
  }
}

}  // namespace halftone::kernel::avx2
