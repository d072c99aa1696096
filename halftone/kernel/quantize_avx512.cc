// Activations to int8, 16 values at a time; the same integers as the scalar reference.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"

namespace halftone::kernel::avx512 {
namespace {

__mmask16 lanes_of(int64_t count) { return first_lanes(count < 0 ? 0 : count); }

// 32 values -> 32 codes in order; returns their sum.
int32_t encode32(const float* x, int64_t filled, __m512 inverse, int8_t* codes) {
  const __m512i a =
      _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(lanes_of(filled), x), inverse));
  const __m512i b = _mm512_cvtps_epi32(
      _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes_of(filled - 16), x + 16), inverse));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(a));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16), _mm512_cvtepi32_epi8(b));
  return _mm512_reduce_add_epi32(_mm512_add_epi32(a, b));
}

uint32_t largest_bits(const float* x, int64_t count) {
  const __m512i mask = _mm512_set1_epi32(0x7fffffff);
  __m512i most = _mm512_setzero_si512();
  for (int64_t k = 0; k < count; k += 16)
    most = _mm512_max_epi32(
        most, _mm512_and_si512(
                  _mm512_castps_si512(_mm512_maskz_loadu_ps(lanes_of(count - k), x + k)), mask));
  return static_cast<uint32_t>(_mm512_reduce_max_epi32(most));
}

}  // namespace

void quantize(const Quantize& job) noexcept {
  const int64_t R = job.rows_per_panel;
  for (int64_t row = job.row_begin; row < (job.row_end + R - 1) / R * R; ++row) {
    const int64_t panel = row / R * R, i = row % R;
    int8_t* codes = job.codes + panel * job.padded_cols;
    for (int64_t begin = 0; begin < job.padded_cols; begin += job.block) {
      const int64_t end = smaller(begin + job.block, job.padded_cols);
      const int64_t filled = row < job.m ? smaller(end, job.cols) - begin : 0;
      const float* x = job.x + row * job.ldx + begin;
      const uint32_t bits = largest_bits(x, filled);
      float most = 0;
      __builtin_memcpy(&most, &bits, 4);
      const bool finite = bits < 0x7f800000u, zero = !finite || most < kLeastActivation;
      const float a = !finite ? __builtin_nanf("") : zero ? 0.0f : most / 127.0f;
      const __m512 inverse = _mm512_set1_ps(zero ? 0.0f : 127.0f / most);
      for (int64_t u = begin / job.unit; u * job.unit < end; ++u) {
        int32_t sum = 0;
        for (int64_t k = u * job.unit; k < smaller(end, (u + 1) * job.unit); k += kTileCols) {
          const int64_t at = k - begin;
          if (R == 1) {
            sum += encode32(x + at, zero ? 0 : filled - at, inverse, codes + k);
          } else {
            alignas(32) int8_t quads[kTileCols];
            sum += encode32(x + at, zero ? 0 : filled - at, inverse, quads);
            for (int64_t q = 0; q < kTileCols / 4; ++q)
              __builtin_memcpy(codes + (k + 4 * q) * R + i * 4, quads + 4 * q, 4);
          }
        }
        job.a[panel * job.units + u * R + i] = a;
        job.sums[panel * job.units + u * R + i] = sum;
      }
    }
  }
}

}  // namespace halftone::kernel::avx512
