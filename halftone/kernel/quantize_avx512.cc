// Activations to int8, 16 values at a time; the same integers as the scalar reference.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/tabulate_x86.h"

namespace halftone::kernel::avx512 {
namespace {

__mmask16 lanes_of(int64_t count) { return first_lanes(count < 0 ? 0 : count); }

// 32 values -> 32 codes in order; returns their sums.
int32_t encode32(const float* x, int64_t filled, __m512 inverse, int8_t* codes) {
  // Cut off at 127 before the conversion, which knows no larger numbers, and at -127 after it.
  const auto encode16 = [&](const float* from, int64_t count) {
    const __m512 v = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes_of(count), from), inverse);
    return _mm_max_epi8(
        _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_min_ps(v, _mm512_set1_ps(127.0f)))),
        _mm_set1_epi8(-127));
  };
  const __m128i low = encode16(x, filled), high = encode16(x + 16, filled - 16);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), low);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16), high);
  const __m128i ones = _mm_set1_epi8(1);
  __m128i s = _mm_add_epi16(_mm_maddubs_epi16(ones, low), _mm_maddubs_epi16(ones, high));
  s = _mm_add_epi16(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi16(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
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
void tabulate(const Quantize& job) noexcept { tabulate_rows(job); }

}  // namespace halftone::kernel::avx512
