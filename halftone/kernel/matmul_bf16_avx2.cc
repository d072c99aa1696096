// bf16 rows times bf16 tiles with AVX2: 6 x 16 blocks of fused multiply-adds on widened values.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/entries.h"

namespace halftone::kernel::avx2 {
namespace {

constexpr int kMostRows = 6, kMostTiles = 1;

struct Pairs {
  struct V {
    __m256 low, high;
  };
  static V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static V load(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
  static void store(float* p, V v) {
    _mm256_store_ps(p, v.low);
    _mm256_store_ps(p + 8, v.high);
  }
  static V add(V a, V b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static V fma(V w, float x, V sum) {
    const __m256 all = _mm256_set1_ps(x);
    return {_mm256_fmadd_ps(w.low, all, sum.low), _mm256_fmadd_ps(w.high, all, sum.high)};
  }
  static __m256i half(const uint16_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static __m256 low_of(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
  static __m256 high_of(__m256i pairs) {
    return _mm256_castsi256_ps(
        _mm256_and_si256(pairs, _mm256_set1_epi32(static_cast<int32_t>(0xffff0000u))));
  }
  static V even(const uint16_t* line) { return {low_of(half(line)), low_of(half(line + 16))}; }
  static V odd(const uint16_t* line) { return {high_of(half(line)), high_of(half(line + 16))}; }
  static void widen(const uint16_t* x, float* out) {
    for (int i = 0; i < 4; ++i) {
      const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(x + 8 * i));
      _mm256_store_ps(out + 8 * i, low_of(_mm256_cvtepu16_epi32(eight)));
    }
  }
};

#include "halftone/kernel/matmul_bf16_body.h"

}  // namespace

void matmul_bf16(const Bf16Matmul& job) noexcept { multiply_bf16(job); }

}  // namespace halftone::kernel::avx2
