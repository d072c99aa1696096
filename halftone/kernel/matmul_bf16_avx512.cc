// bf16 rows times bf16 tiles with AVX-512: 12 x 32 blocks of fused multiply-adds on widened values.
// Not by vdpbf16ps, which chains odd and even k in one sum.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/entries.h"

namespace halftone::kernel::avx512 {
namespace {

constexpr int kMostRows = 12, kMostTiles = 2;

struct Pairs {
  using V = __m512;
  static V zero() { return _mm512_setzero_ps(); }
  static V load(const float* p) { return _mm512_load_ps(p); }
  static void store(float* p, V v) { _mm512_store_ps(p, v); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V fma(V w, float x, V sum) { return _mm512_fmadd_ps(w, _mm512_set1_ps(x), sum); }
  static V even(const uint16_t* line) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_load_si512(line), 16));
  }
  static V odd(const uint16_t* line) {
    return _mm512_castsi512_ps(_mm512_and_si512(
        _mm512_load_si512(line), _mm512_set1_epi32(static_cast<int32_t>(0xffff0000u))));
  }
  static void widen(const uint16_t* x, float* out) {
    for (int i = 0; i < 2; ++i) {
      const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + 16 * i));
      store(out + 16 * i, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16)));
    }
  }
};

#include "halftone/kernel/matmul_bf16_body.h"

}  // namespace

void matmul_bf16(const Bf16Matmul& job) noexcept { multiply_bf16(job); }

}  // namespace halftone::kernel::avx512
