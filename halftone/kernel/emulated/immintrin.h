// Stands for the compiler's <immintrin.h> when the *_avx512.cc files are compiled for the emulated
// test: SIMDe carries out every intrinsic in plain code, so the sources are tested where no CPU has
// them. What SIMDe 0.7.4 lacks is added here.
#pragma once

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#if !defined(_MM_FROUND_NO_EXC)
#define _MM_FROUND_NO_EXC SIMDE_MM_FROUND_NO_EXC
#endif

using __mmask16 = simde__mmask16;

namespace {

template <class To, class From>
inline To reinterpret(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

template <class T, int N>
struct Array {
  T v[N];
};
using Floats = Array<float, 16>;
using Ints = Array<int32_t, 16>;
using Halves = Array<uint16_t, 16>;
using Bytes = Array<uint8_t, 16>;

// Out lane i = f(i), for any pair of vector types.
template <class Out, class Lanes, class F>
inline Out lanes(const F& f) {
  Lanes out;
  for (int i = 0; i < 16; ++i) out.v[i] = f(i);
  return reinterpret<Out>(out);
}

// One rounding, where SIMDe's would be two.
inline __m512 emulated_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  const auto x = reinterpret<Floats>(a), y = reinterpret<Floats>(b), z = reinterpret<Floats>(c);
  return lanes<__m512, Floats>([&](int i) { return __builtin_fmaf(x.v[i], y.v[i], z.v[i]); });
}
inline __m512 emulated_cvtepi32_ps(__m512i a) {
  const auto x = reinterpret<Ints>(a);
  return lanes<__m512, Floats>([&](int i) { return static_cast<float>(x.v[i]); });
}
inline __m512i emulated_cvtps_epi32(__m512 a) {  // half to even; INT_MIN where it does not fit
  const auto x = reinterpret<Floats>(a);
  return lanes<__m512i, Ints>([&](int i) {
    const float r = __builtin_nearbyintf(x.v[i]);
    return r >= -2147483648.0f && r < 2147483648.0f ? static_cast<int32_t>(r) : INT32_MIN;
  });
}
inline __m512i emulated_cvtepu8_epi32(__m128i a) {
  const auto x = reinterpret<Bytes>(a);
  return lanes<__m512i, Ints>([&](int i) { return static_cast<int32_t>(x.v[i]); });
}
inline __m512i emulated_cvtepu16_epi32(__m256i a) {
  const auto x = reinterpret<Halves>(a);
  return lanes<__m512i, Ints>([&](int i) { return static_cast<int32_t>(x.v[i]); });
}
inline __m128i emulated_cvtepi32_epi8(__m512i a) {
  const auto x = reinterpret<Ints>(a);
  return lanes<__m128i, Bytes>([&](int i) { return static_cast<uint8_t>(x.v[i]); });
}
inline __m512 emulated_cvtph_ps(__m256i a) {
  const auto x = reinterpret<Halves>(a);
  return lanes<__m512, Floats>([&](int i) {
    const uint32_t sign = (x.v[i] & 0x8000u) << 16, exponent = (x.v[i] >> 10) & 31u,
                   mantissa = x.v[i] & 0x3ffu;
    if (exponent == 31) return reinterpret<float>(sign | 0x7f800000u | (mantissa << 13));
    if (exponent == 0) return (sign != 0 ? -0x1p-24f : 0x1p-24f) * static_cast<float>(mantissa);
    return reinterpret<float>(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  });
}
inline __m256i emulated_cvtps_ph(__m512 a) {  // half to even, whatever the mode asked for
  const auto x = reinterpret<Ints>(a);
  return lanes<__m256i, Halves>([&](int i) {
    const auto bits = static_cast<uint32_t>(x.v[i]);
    const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
    if (magnitude >= 0x47800000u) return static_cast<uint16_t>(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
      const auto shifted = reinterpret<uint32_t>(reinterpret<float>(magnitude) + 0.5f);
      return static_cast<uint16_t>(sign | (shifted - 0x3f000000u));
    }
    return static_cast<uint16_t>(
        sign | ((magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13));
  });
}
inline __m512 emulated_maskz_loadu_ps(unsigned mask,
                                      const float* p) {  // lanes outside the mask are not read
  return lanes<__m512, Floats>([&](int i) { return (mask >> i & 1u) != 0 ? p[i] : 0.0f; });
}
inline void emulated_mask_storeu_ps(float* p, unsigned mask, __m512 a) {
  const auto x = reinterpret<Floats>(a);
  for (int i = 0; i < 16; ++i)
    if ((mask >> i & 1u) != 0) p[i] = x.v[i];
}
inline void emulated_mask_storeu_epi16(uint16_t* p, unsigned mask, __m256i a) {
  const auto x = reinterpret<Halves>(a);
  for (int i = 0; i < 16; ++i)
    if ((mask >> i & 1u) != 0) p[i] = x.v[i];
}
inline __m512 emulated_reduce_ps(__m512 a) {  // x - floor(x), whatever was asked for
  const auto x = reinterpret<Floats>(a);
  return lanes<__m512, Floats>([&](int i) { return x.v[i] - __builtin_floorf(x.v[i]); });
}
inline __m512 emulated_maskz_scalef_ps(unsigned mask, __m512 a, __m512 b) {
  const auto x = reinterpret<Floats>(a), y = reinterpret<Floats>(b);
  return lanes<__m512, Floats>([&](int i) {
    if ((mask >> i & 1u) == 0) return 0.0f;
    const float n = __builtin_floorf(y.v[i]);
    return n >= -1000 && n <= 1000 ? __builtin_ldexpf(x.v[i], static_cast<int>(n)) : x.v[i] * n;
  });
}
inline __m256i emulated_cvtepi32_epi16(__m512i a) {
  const auto x = reinterpret<Ints>(a);
  return lanes<__m256i, Halves>([&](int i) { return static_cast<uint16_t>(x.v[i]); });
}
inline int32_t emulated_reduce_add(__m512i a) {
  const auto x = reinterpret<Ints>(a);
  int32_t sum = 0;
  for (const int32_t v : x.v) sum += v;
  return sum;
}
inline int32_t emulated_reduce_max(__m512i a) {
  const auto x = reinterpret<Ints>(a);
  int32_t most = x.v[0];
  for (const int32_t v : x.v) most = v > most ? v : most;
  return most;
}

}  // namespace

#undef _mm512_madd_epi16  // SIMDe's alias asks for the arguments of the masked form
#define _mm512_madd_epi16(a, b) simde_mm512_madd_epi16(a, b)
#undef _mm512_fmadd_ps
#define _mm512_fmadd_ps(a, b, c) emulated_fmadd_ps(a, b, c)
#define _mm512_cvtepi32_ps(a) emulated_cvtepi32_ps(a)
#define _mm512_cvtps_epi32(a) emulated_cvtps_epi32(a)
#define _mm512_cvtepu8_epi32(a) emulated_cvtepu8_epi32(a)
#define _mm512_cvtepu16_epi32(a) emulated_cvtepu16_epi32(a)
#define _mm512_cvtepi32_epi8(a) emulated_cvtepi32_epi8(a)
#define _mm512_cvtph_ps(a) emulated_cvtph_ps(a)
#define _mm512_cvtps_ph(a, rounding) emulated_cvtps_ph(a)
#define _mm512_maskz_loadu_ps(m, p) emulated_maskz_loadu_ps(m, p)
#define _mm512_mask_storeu_ps(p, m, a) emulated_mask_storeu_ps(p, m, a)
#define _mm256_mask_storeu_epi16(p, m, a) emulated_mask_storeu_epi16(p, m, a)
#define _mm512_reduce_ps(a, rounding) emulated_reduce_ps(a)
#undef _mm512_maskz_scalef_ps
#define _mm512_maskz_scalef_ps(m, a, b) emulated_maskz_scalef_ps(m, a, b)
#undef _mm512_cvtepi32_epi16
#define _mm512_cvtepi32_epi16(a) emulated_cvtepi32_epi16(a)
#define _mm512_reduce_add_epi32(a) emulated_reduce_add(a)
#define _mm512_reduce_max_epi32(a) emulated_reduce_max(a)
