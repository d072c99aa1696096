// Reading tiles with AVX-512, shared by the *_avx512.cc files; a line of codes is one register.
// Everything in an anonymous namespace: each file keeps its own copy. Intrinsics only, so that
// SIMDe can emulate these files in tests.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/kernels.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx512 {
namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

inline __m512i load(const void* p) { return _mm512_load_si512(p); }

using Codes = __m512i;

// `Width` bits of each byte of v from bit `From` on, or-ed into bits `To` and up of q.
template <int From, int Width, int To>
inline __m512i with_bits(__m512i q, __m512i v) {
  const __m512i mask = _mm512_set1_epi8(static_cast<char>(((1 << Width) - 1) << To));
  if constexpr (From > To) v = _mm512_srli_epi16(v, From - To);
  if constexpr (From < To) v = _mm512_slli_epi16(v, To - From);
  return _mm512_ternarylogic_epi32(q, v, mask, 0xf8);  // q | (v & mask)
}

// Bits 6-7 of three lines, the first lowest.
inline Codes joined_thirds(Codes v0, Codes v1, Codes v2) {
  const Codes t0 = _mm512_and_si512(_mm512_srli_epi16(v0, 6), _mm512_set1_epi8(3));
  const Codes t1 = _mm512_and_si512(_mm512_srli_epi16(v1, 4), _mm512_set1_epi8(12));
  const Codes t2 = _mm512_and_si512(_mm512_srli_epi16(v2, 2), _mm512_set1_epi8(48));
  return _mm512_or_si512(_mm512_or_si512(t0, t1), t2);
}

#include "halftone/kernel/unpack_body.h"

// The 8 quads of 32 k as unsigned bytes, those of a code book as its levels.
template <int B>
inline void unpack(const Tiles& w, const uint8_t* lines, __m512i (&q)[8]) {
  if constexpr (B == 8) {
    for (int i = 0; i < 8; ++i) q[i] = load(lines + i * 64);
  } else if constexpr (B >= 4) {
    const __m512i mask = _mm512_set1_epi8(15);
    for (int i = 0; i < 4; ++i) {
      const __m512i v = load(lines + i * 64);
      q[2 * i] = _mm512_and_si512(v, mask);
      q[2 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
    }
    if constexpr (B == kBook) {
      const __m512i table =
          _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.level)));
      for (auto& quad : q) quad = _mm512_shuffle_epi8(table, quad);
    }
    if constexpr (kPlanes<B>) add_planes<B>(lines, q);
  } else if constexpr (B == 1) {
    const __m512i v = load(lines), mask = _mm512_set1_epi8(1);
    unrolled<8>([&](auto index) __attribute__((always_inline)) {
      constexpr int I = decltype(index)::kValue;
      q[I] = _mm512_and_si512(_mm512_srli_epi16(v, I), mask);
    });
  } else if constexpr (B == 2) {
    const __m512i mask = _mm512_set1_epi8(3);
    for (int i = 0; i < 2; ++i) {
      const __m512i v = load(lines + i * 64);
      q[4 * i] = _mm512_and_si512(v, mask);
      q[4 * i + 1] = _mm512_and_si512(_mm512_srli_epi16(v, 2), mask);
      q[4 * i + 2] = _mm512_and_si512(_mm512_srli_epi16(v, 4), mask);
      q[4 * i + 3] = _mm512_and_si512(_mm512_srli_epi16(v, 6), mask);
    }
  } else {
    const __m512i mask = _mm512_set1_epi8(7);
    const __m512i v0 = load(lines), v1 = load(lines + 64), v2 = load(lines + 128);
    q[0] = _mm512_and_si512(v0, mask);
    q[1] = _mm512_and_si512(_mm512_srli_epi16(v0, 3), mask);
    q[2] = _mm512_and_si512(v1, mask);
    q[3] = _mm512_and_si512(_mm512_srli_epi16(v1, 3), mask);
    q[4] = _mm512_and_si512(v2, mask);
    q[5] = _mm512_and_si512(_mm512_srli_epi16(v2, 3), mask);
    const Codes t = joined_thirds(v0, v1, v2);
    q[6] = _mm512_and_si512(t, mask);
    q[7] = _mm512_and_si512(_mm512_srli_epi16(t, 3), mask);
  }
}

// Scales of a group as integer products take them, and as they are.
inline __m512 plain_scales(const Tiles& w, const uint8_t* tile, int64_t group) {
  const int64_t at = group * kTileRows;
  if (w.scales_f32) return _mm512_load_ps(reinterpret_cast<const float*>(tile + at * 4));
  return _mm512_cvtph_ps(_mm256_load_si256(reinterpret_cast<const __m256i*>(tile + at * 2)));
}
inline __m512 scales(const Tiles& w, const uint8_t* tile, int64_t group) {
  return _mm512_mul_ps(plain_scales(w, tile, group), _mm512_set1_ps(w.step));
}

// Sub-scales number `index` as int32.
inline __m512i subs(const Tiles& w, const uint8_t* tile, int64_t index) {
  return _mm512_cvtepu8_epi32(
      _mm_load_si128(reinterpret_cast<const __m128i*>(tile + w.sub_offset + index * kTileRows)));
}

inline __m512i zeros(const Tiles& w, const uint8_t* tile, int64_t group) {
  if (w.zeros_offset < 0) return _mm512_set1_epi32(w.zero);
  return _mm512_cvtepu8_epi32(
      _mm_load_si128(reinterpret_cast<const __m128i*>(tile + w.zeros_offset + group * kTileRows)));
}

// Zero-points of a group in both halves of each lane: madd with IntMatmul::sums is zero * sum.
inline __m512i zero_pairs(const Tiles& w, const uint8_t* tile, int64_t group) {
  const __m512i z = zeros(w, tile, group);
  return _mm512_or_si512(z, _mm512_slli_epi32(z, 16));
}

// Asks for `count` bytes that will be read soon, but not at once.
inline void prefetch(const uint8_t* from, int64_t count) {
  for (int64_t i = 0; i < count; i += 64) _mm_prefetch(from + i, _MM_HINT_T1);
}

inline __mmask16 first_lanes(int64_t count) {
  return count >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << count) - 1);
}

inline __m512i broadcast4(const int8_t* p) {
  int32_t four = 0;
  __builtin_memcpy(&four, p, 4);
  return _mm512_set1_epi32(four);
}

// Unsigned bytes of quads -> float(code - zero), exactly and without a conversion: or-ing a byte
// into the mantissa of 2^23 (or 2^15, where bits 8-15 count units) gives 2^23 + code, from which
// 2^23 + zero is subtracted.
struct Magic {
  __m512 whole, second;  // 2^23 + zero, 2^15 + zero
};
inline Magic magic(__m512i zero) {
  const __m512 z = _mm512_cvtepi32_ps(zero);
  return {_mm512_add_ps(z, _mm512_set1_ps(8388608.0f)), _mm512_add_ps(z, _mm512_set1_ps(32768.0f))};
}
inline __m512 masked_or(__m512i v, int32_t mask, int32_t bits) {  // (v & mask) | bits
  return _mm512_castsi512_ps(
      _mm512_ternarylogic_epi32(v, _mm512_set1_epi32(mask), _mm512_set1_epi32(bits), 0xea));
}
template <int K>
inline __m512 centred(__m512i quad, const Magic& m) {
  if constexpr (K == 0) return _mm512_sub_ps(masked_or(quad, 0xff, 0x4b000000), m.whole);
  if constexpr (K == 1) return _mm512_sub_ps(masked_or(quad, 0xff00, 0x47000000), m.second);
  if constexpr (K == 2)
    return _mm512_sub_ps(masked_or(_mm512_srli_epi32(quad, 16), 0xff, 0x4b000000), m.whole);
  return _mm512_sub_ps(masked_or(_mm512_srli_epi32(quad, 16), 0xff00, 0x47000000), m.second);
}

}  // namespace
}  // namespace halftone::kernel::avx512
