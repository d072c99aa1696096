#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/entries.h"
#include "halftone/kernel/vector_ops.h"

namespace halftone::kernel::avx512 {
namespace {

struct Lanes {
  using V = __m512;
  static __mmask16 mask(int64_t n) {
    return n >= 16 ? static_cast<__mmask16>(0xffff)
                   : static_cast<__mmask16>((1u << (n < 0 ? 0 : n)) - 1);
  }
  static V set(float x) { return _mm512_set1_ps(x); }
  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static V load(const float* p, int64_t n, float fill) {
    const __mmask16 m = mask(n);
    return _mm512_mask_blend_ps(m, _mm512_set1_ps(fill), _mm512_maskz_loadu_ps(m, p));
  }
  static void store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static void store(float* p, V v, int64_t n) { _mm512_mask_storeu_ps(p, mask(n), v); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V div(V a, V b) { return _mm512_div_ps(a, b); }
  static V sqrt(V a) { return _mm512_sqrt_ps(a); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm512_max_ps(a, b); }
  static V min(V a, V b) { return _mm512_min_ps(a, b); }
  static V abs(V a) {
    return _mm512_castsi512_ps(
        _mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7fffffff)));
  }
  static V round(V a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static V exponent(V r, V n) {
    const __m512i bits =
        _mm512_slli_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)), 23);
    return _mm512_mul_ps(r, _mm512_castsi512_ps(bits));
  }
  static V zero_unless_ge(V x, V limit, V v) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), v, _mm512_setzero_ps());
  }
  static V select_negative(V x, V a, V b) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), b, a);
  }
  static __m256 half(V v, int which) {
    const __m512d d = _mm512_castps_pd(v);
    return _mm256_castpd_ps(which == 0 ? _mm512_castpd512_pd256(d) : _mm512_extractf64x4_pd(d, 1));
  }
  static float sum(V v) {
    const __m256 eight = _mm256_add_ps(half(v, 0), half(v, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
  static float largest(V v) {
    const __m256 eight = _mm256_max_ps(half(v, 0), half(v, 1));
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
  }
  static void store_f16(uint16_t* p, V v, int64_t n) {
    const __m256i h = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
    if (n >= 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), h);
      return;
    }
    _mm256_mask_storeu_epi16(p, mask(n), h);
  }
  static bool any_above(V v, float x) { return _mm512_cmp_ps_mask(v, set(x), _CMP_GT_OQ) != 0; }
  static V fraction(V x) { return _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  static V power(V p, V x, V low) {
    return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, low, _CMP_NLT_UQ), p, x);
  }
  static V round_bf16(V v) {
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_add_epi32(_mm512_add_epi32(bits, odd), _mm512_set1_epi32(0x7fff));
    const __m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));
    const __m512i kept = _mm512_castps_si512(
        _mm512_mask_blend_ps(_mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), _mm512_castsi512_ps(rounded),
                             _mm512_castsi512_ps(quiet)));
    return _mm512_castsi512_ps(
        _mm512_and_si512(kept, _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))));
  }
  static void store_high(uint16_t* p, V v, int64_t n) {
    const __m256i h = _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_castps_si512(v), 16));
    if (n >= 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), h);
      return;
    }
    _mm256_mask_storeu_epi16(p, mask(n), h);
  }
  static void store_high(uint16_t* p, V a, V b) {
    alignas(64) static constexpr uint16_t kOdd[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                      23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                      45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    const __m512i both = _mm512_permutex2var_epi16(_mm512_castps_si512(a), _mm512_load_si512(kOdd),
                                                   _mm512_castps_si512(b));
    _mm512_storeu_si512(p, both);
  }
};

#include "halftone/kernel/vector_ops_body.h"

}  // namespace

const VectorOps vector_ops = kOps;

}  // namespace halftone::kernel::avx512
