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

inline __m512 spread(float x) { return _mm512_set1_ps(x); }

#include "halftone/kernel/quantize_body.h"

}  // namespace

void quantize(const Quantize& job) noexcept { quantize_rows(job); }

}  // namespace halftone::kernel::avx512
