// Reading tiles with AVX2, shared by the *_avx2.cc files. Everything in an anonymous namespace:
// each file keeps its own copy, compiled with its own flags.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/kernels.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx2 {
namespace {

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

inline __m256i load(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }

using Codes = __m256i;

// `Width` bits of each byte of v from bit `From` on, or-ed into bits `To` and up of q.
template <int From, int Width, int To>
inline __m256i with_bits(__m256i q, __m256i v) {
  const __m256i mask = _mm256_set1_epi8(static_cast<char>(((1 << Width) - 1) << To));
  if constexpr (From > To) v = _mm256_srli_epi16(v, From - To);
  if constexpr (From < To) v = _mm256_slli_epi16(v, To - From);
  return _mm256_or_si256(q, _mm256_and_si256(v, mask));
}

// Bits 6-7 of three lines, the first lowest.
inline Codes joined_thirds(Codes v0, Codes v1, Codes v2) {
  const Codes t0 = _mm256_and_si256(_mm256_srli_epi16(v0, 6), _mm256_set1_epi8(3));
  const Codes t1 = _mm256_and_si256(_mm256_srli_epi16(v1, 4), _mm256_set1_epi8(12));
  const Codes t2 = _mm256_and_si256(_mm256_srli_epi16(v2, 2), _mm256_set1_epi8(48));
  return _mm256_or_si256(_mm256_or_si256(t0, t1), t2);
}

#include "halftone/kernel/unpack_body.h"

// The 8 quads of 32 k as unsigned bytes, those of a code book as its levels, for one half (8 rows)
// of the tile: `lines` points at this half of the first line.
template <int B>
inline void unpack(const Tiles& w, const uint8_t* lines, __m256i (&q)[8]) {
  if constexpr (B == 8) {
    for (int i = 0; i < 8; ++i) q[i] = load(lines + i * 64);
  } else if constexpr (B >= 4) {
    const __m256i mask = _mm256_set1_epi8(15);
    for (int i = 0; i < 4; ++i) {
      const __m256i v = load(lines + i * 64);
      q[2 * i] = _mm256_and_si256(v, mask);
      q[2 * i + 1] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
    }
    if constexpr (B == kBook) {
      const __m256i table =
          _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.level)));
      for (auto& quad : q) quad = _mm256_shuffle_epi8(table, quad);
    }
    if constexpr (kPlanes<B>) add_planes<B>(lines, q);
  } else if constexpr (B == 1) {
    const __m256i v = load(lines), mask = _mm256_set1_epi8(1);
    unrolled<8>([&](auto index) __attribute__((always_inline)) {
      constexpr int I = decltype(index)::kValue;
      q[I] = _mm256_and_si256(_mm256_srli_epi16(v, I), mask);
    });
  } else if constexpr (B == 2) {
    const __m256i mask = _mm256_set1_epi8(3);
    for (int i = 0; i < 2; ++i) {
      const __m256i v = load(lines + i * 64);
      q[4 * i] = _mm256_and_si256(v, mask);
      q[4 * i + 1] = _mm256_and_si256(_mm256_srli_epi16(v, 2), mask);
      q[4 * i + 2] = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
      q[4 * i + 3] = _mm256_and_si256(_mm256_srli_epi16(v, 6), mask);
    }
  } else {
    const __m256i mask = _mm256_set1_epi8(7);
    const __m256i v0 = load(lines), v1 = load(lines + 64), v2 = load(lines + 128);
    q[0] = _mm256_and_si256(v0, mask);
    q[1] = _mm256_and_si256(_mm256_srli_epi16(v0, 3), mask);
    q[2] = _mm256_and_si256(v1, mask);
    q[3] = _mm256_and_si256(_mm256_srli_epi16(v1, 3), mask);
    q[4] = _mm256_and_si256(v2, mask);
    q[5] = _mm256_and_si256(_mm256_srli_epi16(v2, 3), mask);
    const Codes t = joined_thirds(v0, v1, v2);
    q[6] = _mm256_and_si256(t, mask);
    q[7] = _mm256_and_si256(_mm256_srli_epi16(t, 3), mask);
  }
}

// Scales of a group, rows 8 * half .. + 7 of the tile, as they are and as integer products take
// them.
inline __m256 plain_scales(const Tiles& w, const uint8_t* tile, int64_t group, int half) {
  const int64_t at = group * kTileRows + half * 8;
  if (w.scales_f32) return _mm256_load_ps(reinterpret_cast<const float*>(tile + at * 4));
  return _mm256_cvtph_ps(_mm_load_si128(reinterpret_cast<const __m128i*>(tile + at * 2)));
}
inline __m256 scales(const Tiles& w, const uint8_t* tile, int64_t group, int half) {
  return _mm256_mul_ps(plain_scales(w, tile, group, half), _mm256_set1_ps(w.step));
}

// Sub-scales number `index`, each in both int16 of its lane.
inline __m256i sub_pairs(const Tiles& w, const uint8_t* tile, int64_t index, int half) {
  const __m256i u = _mm256_cvtepu8_epi32(_mm_loadl_epi64(
      reinterpret_cast<const __m128i*>(tile + w.sub_offset + index * kTileRows + half * 8)));
  return _mm256_or_si256(u, _mm256_slli_epi32(u, 16));
}

// Zero-points of a group as int32.
inline __m256i zeros(const Tiles& w, const uint8_t* tile, int64_t group, int half) {
  if (w.zeros_offset < 0) return _mm256_set1_epi32(w.zero);
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(
      reinterpret_cast<const __m128i*>(tile + w.zeros_offset + group * kTileRows + half * 8)));
}

// Zero-points of a group in both halves of each lane: madd with IntMatmul::sums is zero * sum.
inline __m256i zero_pairs(const Tiles& w, const uint8_t* tile, int64_t group, int half) {
  const __m256i z = zeros(w, tile, group, half);
  return _mm256_or_si256(z, _mm256_slli_epi32(z, 16));
}

inline void store_tile_row(float* y, __m256 low, __m256 high, int64_t columns) {
  if (columns >= kTileRows) {
    _mm256_storeu_ps(y, low);
    _mm256_storeu_ps(y + 8, high);
    return;
  }
  alignas(32) float all[kTileRows];
  _mm256_store_ps(all, low);
  _mm256_store_ps(all + 8, high);
  for (int64_t i = 0; i < columns; ++i) y[i] = all[i];
}

inline void store_tile_row(float* y, const float* from, int64_t columns) {
  store_tile_row(y, _mm256_load_ps(from), _mm256_load_ps(from + 8), columns);
}

inline __m256i broadcast4(const int8_t* p) {
  int32_t four = 0;
  __builtin_memcpy(&four, p, 4);
  return _mm256_set1_epi32(four);
}

}  // namespace
}  // namespace halftone::kernel::avx2
