// Tables of pairs (matmul.h), 8 activations at a time, for quantize_avx2.cc and quantize_avx512.cc:
// a table is 16 sums of 16 bits, one register of either. Everything in an anonymous namespace: each
// file keeps its own copy, compiled with its own flags.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace halftone::kernel {
namespace {

inline __m256 load_some(const float* x, int64_t count) {
  if (count >= 8) return _mm256_loadu_ps(x);
  alignas(32) static constexpr int32_t kMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                    0,  0,  0,  0,  0,  0,  0,  0};
  if (count <= 0) return _mm256_setzero_ps();
  return _mm256_maskload_ps(
      x, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask + 8 - count)));
}

inline uint32_t largest_lane(__m256i v) {
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<uint32_t>(_mm_cvtsi128_si32(m));
}

// The bits of the largest |x[k]| / 2 + |x[k + 1]| / 2.
inline uint32_t largest_pair(const float* x, int64_t count) {
  const __m256i mask = _mm256_set1_epi32(0x7fffffff);
  __m256i most = _mm256_setzero_si256();
  for (int64_t k = 0; k < count; k += 8) {
    const __m256 half = _mm256_mul_ps(load_some(x + k, count - k), _mm256_set1_ps(0.5f)),
                 size = _mm256_and_ps(half, _mm256_castsi256_ps(mask)),
                 both = _mm256_add_ps(size, _mm256_permute_ps(size, 0xb1));
    most = _mm256_max_epi32(most, _mm256_and_si256(_mm256_castps_si256(both), mask));
  }
  return largest_lane(most);
}

// 32 values -> 16 tables in order; returns the sum of X.
inline int32_t tables32(const float* x, int64_t filled, float inverse, uint8_t* tables) {
  alignas(32) int16_t all[32];
  __m256i sums = _mm256_setzero_si256();
  for (int i = 0; i < 2; ++i) {
    const auto encode = [&](int at) {
      return _mm256_cvtps_epi32(
          _mm256_mul_ps(load_some(x + at, filled - at), _mm256_set1_ps(inverse)));
    };
    const __m256i q =  // undo the pack's lane interleave
        _mm256_permute4x64_epi64(_mm256_packs_epi32(encode(16 * i), encode(16 * i + 8)), 0xd8);
    _mm256_store_si256(reinterpret_cast<__m256i*>(all + 16 * i), q);
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(q, _mm256_set1_epi16(1)));
  }
  const __m256i first = _mm256_setr_epi16(-3, -1, 1, 3, -3, -1, 1, 3, -3, -1, 1, 3, -3, -1, 1, 3),
                second = _mm256_setr_epi16(-3, -3, -3, -3, -1, -1, -1, -1, 1, 1, 1, 1, 3, 3, 3, 3),
                half = _mm256_set1_epi16(static_cast<int16_t>(0x8080));  // 128 * 256 + 128
  const auto table = [&](int pair) {
    const __m256i both =
        _mm256_add_epi16(_mm256_mullo_epi16(first, _mm256_set1_epi16(all[2 * pair])),
                         _mm256_mullo_epi16(second, _mm256_set1_epi16(all[2 * pair + 1])));
    return _mm256_srli_epi16(_mm256_add_epi16(both, half), 8);
  };
  for (int pair = 0; pair < 16; pair += 2)
    _mm256_store_si256(
        reinterpret_cast<__m256i*>(tables + 16 * pair),
        _mm256_permute4x64_epi64(_mm256_packus_epi16(table(pair), table(pair + 1)), 0xd8));
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

}  // namespace
}  // namespace halftone::kernel
