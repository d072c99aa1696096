// Activations to int8, 8 values at a time; the same integers as the scalar reference.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/entries.h"
#include "halftone/kernel/tabulate_x86.h"

namespace halftone::kernel::avx2 {
namespace {

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// 32 values -> 32 codes in order; returns their sum.
int32_t encode32(const float* x, int64_t filled, __m256 inverse, int8_t* codes) {
  __m256i q[4];
  for (int i = 0; i < 4; ++i)
    q[i] = _mm256_cvtps_epi32(
        // cut off at 127 before the conversion, which knows no larger numbers, and at -127 after it
        _mm256_min_ps(_mm256_mul_ps(load_some(x + 8 * i, filled - 8 * i), inverse),
                      _mm256_set1_ps(127.0f)));
  const __m256i bytes = _mm256_max_epi8(
      _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3])),
      _mm256_set1_epi8(-127));
  // undo the packs' lane interleave
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), _mm256_permutevar8x32_epi32(bytes, order));
  const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
  __m128i s = _mm_add_epi16(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
  s = _mm_add_epi16(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi16(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

uint32_t largest_bits(const float* x, int64_t count) {
  const __m256i mask = _mm256_set1_epi32(0x7fffffff);
  __m256i most = _mm256_setzero_si256();
  for (int64_t k = 0; k < count; k += 8)
    most = _mm256_max_epi32(
        most, _mm256_and_si256(_mm256_castps_si256(load_some(x + k, count - k)), mask));
  return largest_lane(most);
}

inline __m256 spread(float x) { return _mm256_set1_ps(x); }

#include "halftone/kernel/quantize_body.h"

}  // namespace

void quantize(const Quantize& job) noexcept { quantize_rows(job); }
void tabulate(const Quantize& job) noexcept { tabulate_rows(job); }

}  // namespace halftone::kernel::avx2
