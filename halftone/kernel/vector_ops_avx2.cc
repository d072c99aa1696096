#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/entries.h"
#include "halftone/kernel/vector_ops.h"

namespace halftone::kernel::avx2 {
namespace {

struct Lanes {
  struct V {
    __m256 low, high;
  };
  static __m256i mask(int64_t n) {  // the first n of 8 lanes
    alignas(32) static constexpr int32_t kMask[16] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                      0,  0,  0,  0,  0,  0,  0,  0};
    const int64_t kept = n < 0 ? 0 : n > 8 ? 8 : n;
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMask + 8 - kept));
  }
  static __m256 some(const float* p, int64_t n, float fill) {
    const __m256i m = mask(n);
    return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, m), _mm256_castsi256_ps(m));
  }
  static V set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static V load(const float* p, int64_t n, float fill) {
    return {some(p, n, fill), some(p + 8, n - 8, fill)};
  }
  static void store(float* p, V v) {
    _mm256_storeu_ps(p, v.low);
    _mm256_storeu_ps(p + 8, v.high);
  }
  static void store(float* p, V v, int64_t n) {
    if (n >= 16) return store(p, v);
    _mm256_maskstore_ps(p, mask(n), v.low);
    _mm256_maskstore_ps(p + 8, mask(n - 8), v.high);
  }
  static V add(V a, V b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
  static V sub(V a, V b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
  static V mul(V a, V b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
  static V div(V a, V b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
  static V sqrt(V a) { return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }
  static V fma(V a, V b, V c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
  }
  static V max(V a, V b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
  static V min(V a, V b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
  static V abs(V a) {
    const __m256 m = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    return {_mm256_and_ps(a.low, m), _mm256_and_ps(a.high, m)};
  }
  static V round(V a) {
    return {_mm256_round_ps(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
            _mm256_round_ps(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
  }
  static __m256 power(__m256 n) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
  }
  static V exponent(V r, V n) {
    return {_mm256_mul_ps(r.low, power(n.low)), _mm256_mul_ps(r.high, power(n.high))};
  }
  static V zero_unless_ge(V x, V limit, V v) {
    return {_mm256_and_ps(v.low, _mm256_cmp_ps(x.low, limit.low, _CMP_NLT_UQ)),
            _mm256_and_ps(v.high, _mm256_cmp_ps(x.high, limit.high, _CMP_NLT_UQ))};
  }
  static V select_negative(V x, V a, V b) {
    const __m256 zero = _mm256_setzero_ps();
    return {_mm256_blendv_ps(b.low, a.low, _mm256_cmp_ps(x.low, zero, _CMP_LT_OQ)),
            _mm256_blendv_ps(b.high, a.high, _mm256_cmp_ps(x.high, zero, _CMP_LT_OQ))};
  }
  static float sum(V v) {
    const __m256 eight = _mm256_add_ps(v.low, v.high);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
  static float largest(V v) {
    const __m256 eight = _mm256_max_ps(v.low, v.high);
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
  static void store_f16(uint16_t* p, V v, int64_t n) {
    const __m128i low = _mm256_cvtps_ph(v.low, _MM_FROUND_TO_NEAREST_INT),
                  high = _mm256_cvtps_ph(v.high, _MM_FROUND_TO_NEAREST_INT);
    alignas(32) uint16_t some_halves[16];
    uint16_t* to = n >= 16 ? p : some_halves;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), low);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + 8), high);
    if (n < 16)
      for (int64_t i = 0; i < n; ++i) p[i] = some_halves[i];
  }
  static V floor(V x) {
    return {_mm256_round_ps(x.low, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC),
            _mm256_round_ps(x.high, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC)};
  }
  static bool any_above(V v, float x) {
    const __m256 limit = _mm256_set1_ps(x);
    return _mm256_movemask_ps(_mm256_or_ps(_mm256_cmp_ps(v.low, limit, _CMP_GT_OQ),
                                           _mm256_cmp_ps(v.high, limit, _CMP_GT_OQ))) != 0;
  }
  static V fraction(V x) { return sub(x, floor(x)); }
  static V power(V p, V x, V low) { return zero_unless_ge(x, low, exponent(p, floor(x))); }
  static __m256 round_bf16(__m256 v) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded =
        _mm256_add_epi32(_mm256_add_epi32(bits, odd), _mm256_set1_epi32(0x7fff));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    const __m256 kept = _mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet),
                                         _mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_and_ps(kept,
                         _mm256_castsi256_ps(_mm256_set1_epi32(static_cast<int32_t>(0xffff0000u))));
  }
  static V round_bf16(V v) { return {round_bf16(v.low), round_bf16(v.high)}; }
  static __m256i high_halves(V v) {
    const __m256i two = _mm256_packus_epi32(_mm256_srli_epi32(_mm256_castps_si256(v.low), 16),
                                            _mm256_srli_epi32(_mm256_castps_si256(v.high), 16));
    return _mm256_permute4x64_epi64(two, 0xd8);  // pack goes by halves of a register
  }
  static void store_high(uint16_t* p, V v, int64_t n) {
    alignas(32) uint16_t some[16];
    uint16_t* to = n >= 16 ? p : some;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), high_halves(v));
    if (n < 16)
      for (int64_t i = 0; i < n; ++i) p[i] = some[i];
  }
  static void store_high(uint16_t* p, V a, V b) {
    store_high(p, a, int64_t{16});
    store_high(p + 16, b, int64_t{16});
  }
};

#include "halftone/kernel/vector_ops_body.h"

}  // namespace

const VectorOps vector_ops = kOps;

}  // namespace halftone::kernel::avx2
