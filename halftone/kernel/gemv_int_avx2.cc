// One to eight rows of int8 activations times low-bit tiles: memory bound, so weights are unpacked
// in registers and read once.
//
// A lane is an output row, so nothing is ever summed across lanes. A thread's range of tiles is cut
// into 4 equal parts and one tile of each is walked at once: 4 memory streams, and each activation
// broadcast is used 8 times.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx2_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx2 {
namespace {

constexpr int64_t kAhead = 2048;  // bytes

// The 8 quads of 32 k for one half of the tile; of 2 bits those of odd number as four times their
// codes, which spares their shifts.
template <int B>
inline void unpack_scaled(const Tiles& w, const uint8_t* lines, __m256i (&q)[8]) {
  if constexpr (B == 2) {
    const __m256i ones = _mm256_set1_epi8(3), fours = _mm256_set1_epi8(12);
    for (int i = 0; i < 2; ++i) {
      const __m256i v = load(lines + i * 64), h = _mm256_srli_epi16(v, 4);
      q[4 * i] = _mm256_and_si256(v, ones);
      q[4 * i + 1] = _mm256_and_si256(v, fours);
      q[4 * i + 2] = _mm256_and_si256(h, ones);
      q[4 * i + 3] = _mm256_and_si256(h, fours);
    }
  } else {
    unpack<B>(w, lines, q);
  }
}

// The step of Tiles is 1 but for code books and two levels.
template <int B, bool Two>
inline __m256 unit_scales(const Tiles& w, const uint8_t* tile, int64_t group, int half) {
  return Two || B == kBook ? scales(w, tile, group, half) : plain_scales(w, tile, group, half);
}

// zero * X of each row, int32; `zero16` where the tiles have one zero-point for all.
inline __m256i zero_sums(const Tiles& w, const uint8_t* tile, int64_t group, int half, __m256i sums,
                         __m256i zero16) {
  return _mm256_madd_epi16(w.zeros_offset < 0 ? zero16 : zero_pairs(w, tile, group, half), sums);
}

// What 4-bit codes stand for: integers times a scale, or times a sub-scale and a scale, or a book.
enum class Row4 { plain, two_levels, book };

// One row, 4 bits: what most decoding is. Line by line over all tiles, so that each activation is
// broadcast once, with the sums of 2 J <= 8 half tiles in registers.
template <int J, Row4 Kind>
void walk_row4(const IntMatmul& job, const int64_t* tile, int64_t m) {
  constexpr bool Two = Kind == Row4::two_levels, Book = Kind == Row4::book;
  constexpr int B = Book ? kBook : 4;
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  const int8_t* x = job.x + m * w.padded_cols;
  const __m256i ones = _mm256_set1_epi16(1), mask = _mm256_set1_epi8(15),
                zero16 = _mm256_set1_epi16(static_cast<int16_t>(w.zero));
  // Levels less the zero-point: within -127..127 by what a book is.
  __m256i levels = _mm256_setzero_si256();
  if constexpr (Book)
    levels = _mm256_sub_epi8(
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w.level))),
        _mm256_set1_epi8(static_cast<char>(w.zero)));
  __m256 y[J][2];
  for (auto& t : y) t[0] = t[1] = _mm256_setzero_ps();
  Place place(w, job.units_per_group);
  __m256i sum[J][2];
  for (int64_t u = 0; u < job.units; ++u, place.next()) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols);
    const __m256i sums = _mm256_set1_epi32(job.sums[m * job.units + u]);
    if (!Two || place.begins())
      for (auto& t : sum) t[0] = t[1] = _mm256_setzero_si256();
    for (int64_t k = begin; k < end; k += kTileCols) {
      const int64_t at = w.codes_offset + k / kTileCols * 256;
      // 8 products of at most 2 * 127 * 15 fit int16. Two: from -zero * X, so that what meets a
      // sub-scale fits as well. Levels: one product does, of the magnitude of an activation and a
      // level that has taken its sign.
      __m256i a[J][2];
      for (auto& t : a)
        t[0] = t[1] =
            Two ? _mm256_sub_epi16(_mm256_setzero_si256(), _mm256_mullo_epi16(zero16, sums))
                : _mm256_setzero_si256();
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const __m256i b0 = broadcast4(x + k + 8 * i), b1 = broadcast4(x + k + 8 * i + 4);
        const __m256i m0 = _mm256_abs_epi8(b0), m1 = _mm256_abs_epi8(b1);
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j)
#pragma GCC unroll 2
          for (int h = 0; h < 2; ++h) {
            const __m256i v = load(base[j] + at + i * 64 + h * 32);
            const __m256i c0 = _mm256_and_si256(v, mask),
                          c1 = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
            if constexpr (Book) {
              const __m256i l0 = _mm256_sign_epi8(_mm256_shuffle_epi8(levels, c0), b0),
                            l1 = _mm256_sign_epi8(_mm256_shuffle_epi8(levels, c1), b1);
              sum[j][h] = _mm256_add_epi32(sum[j][h],
                                           _mm256_madd_epi16(_mm256_maddubs_epi16(m0, l0), ones));
              sum[j][h] = _mm256_add_epi32(sum[j][h],
                                           _mm256_madd_epi16(_mm256_maddubs_epi16(m1, l1), ones));
            } else {
              a[j][h] = _mm256_add_epi16(_mm256_add_epi16(a[j][h], _mm256_maddubs_epi16(c0, b0)),
                                         _mm256_maddubs_epi16(c1, b1));
            }
          }
      }
      if constexpr (!Book) {
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j)
#pragma GCC unroll 2
          for (int h = 0; h < 2; ++h)
            sum[j][h] = _mm256_add_epi32(
                sum[j][h],
                _mm256_madd_epi16(a[j][h], Two ? sub_pairs(w, base[j], place.sub, h) : ones));
      }
    }
    if (Two && !place.ends() && u + 1 < job.units) continue;
    const __m256 scale = _mm256_set1_ps(job.a[m * job.units + u]);
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j)
#pragma GCC unroll 2
      for (int h = 0; h < 2; ++h) {
        const __m256 s = unit_scales<B, Two>(w, base[j], place.group, h);
        const __m256i whole =
            Kind == Row4::plain
                ? _mm256_sub_epi32(sum[j][h], zero_sums(w, base[j], place.group, h, sums, zero16))
                : sum[j][h];
        y[j][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), _mm256_mul_ps(s, scale), y[j][h]);
      }
  }
  for (int j = 0; j < J; ++j)
    store_tile_row(job.y + m * job.ldy + tile[j] * kTileRows, y[j][0], y[j][1],
                   w.rows - tile[j] * kTileRows);
}

// J tiles (numbers in `tile`) times R rows of x from row m0. Two: two-level scales.
template <int B, int J, int R, bool Two>
void walk(const IntMatmul& job, const int64_t* tile, int64_t m0) {
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  const int8_t* x = job.x + m0 * w.padded_cols;
  const __m256i ones = _mm256_set1_epi16(1),
                zero16 = _mm256_set1_epi16(static_cast<int16_t>(w.zero));
  __m256 y[R][J][2];
  for (auto& row : y)
    for (auto& t : row) t[0] = t[1] = _mm256_setzero_ps();
  Place place(w, job.units_per_group);
  __m256i sum[R][J][2];
  for (int64_t u = 0; u < job.units; ++u, place.next()) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols);
    if (!Two || place.begins())
      for (auto& row : sum)
        for (auto& t : row) t[0] = t[1] = _mm256_setzero_si256();
    for (int64_t k = begin; k < end; k += kTileCols) {
      if constexpr (B >= 5) {
        // u8 times s8 overflows int16 pairs: widen both to int16 as (k0, k2) and (k1, k3).
        const __m256i low = _mm256_set1_epi16(255);
        __m256i quads[J][2][8];
        if constexpr (B != 8)
          for (int j = 0; j < J; ++j)
            for (int h = 0; h < 2; ++h)
              unpack<B>(w, base[j] + w.codes_offset + k / kTileCols * 64 * kBits<B> + h * 32,
                        quads[j][h]);
        for (int q = 0; q < 8; ++q) {
          __m256i even[R], odd[R];
          for (int r = 0; r < R; ++r) {
            const __m256i b = broadcast4(x + r * w.padded_cols + k + 4 * q);
            even[r] = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8);
            odd[r] = _mm256_srai_epi16(b, 8);
          }
          for (int j = 0; j < J; ++j) {
            for (int h = 0; h < 2; ++h) {
              __m256i v;
              if constexpr (B == 8) {
                const uint8_t* line = base[j] + w.codes_offset + (k / 4 + q) * 64 + h * 32;
                if constexpr (R > 1)
                  if (h == 0) _mm_prefetch(line + kAhead, _MM_HINT_T0);
                v = load(line);
              } else {
                v = quads[j][h][q];
              }
              const __m256i ve = _mm256_and_si256(v, low), vo = _mm256_srli_epi16(v, 8);
              for (int r = 0; r < R; ++r) {
                sum[r][j][h] = _mm256_add_epi32(sum[r][j][h], _mm256_madd_epi16(ve, even[r]));
                sum[r][j][h] = _mm256_add_epi32(sum[r][j][h], _mm256_madd_epi16(vo, odd[r]));
              }
            }
          }
        }
      } else {
        // 8 products of at most 2 * 127 * 15 fit int16; then widen. The activations of one row stay
        // in registers for all half tiles.
        __m256i held[8];
        if constexpr (R == 1)
          for (int i = 0; i < 8; ++i) held[i] = broadcast4(x + k + 4 * i);
        const auto activations = [&](int r, int i) {
          return R == 1 ? held[i] : broadcast4(x + r * w.padded_cols + k + 4 * i);
        };
        for (int j = 0; j < J; ++j) {
          for (int h = 0; h < 2; ++h) {
            __m256i q[8];
            const uint8_t* lines =
                base[j] + w.codes_offset + k / kTileCols * 64 * kBits<B> + h * 32;
            // Few bytes or much to compute: the next lines are not asked for early enough. Where
            // four streams run at memory speed the CPU does it better (Zen 3: a fifth more).
            if constexpr (R > 1 || B <= 2)
              if (h == 0)
                for (int i = 0; i < B; ++i) _mm_prefetch(lines + kAhead + i * 64, _MM_HINT_T0);
            unpack_scaled<B>(w, lines, q);
            __m256i times = ones;
            if constexpr (Two) times = sub_pairs(w, base[j], place.sub, h);
            for (int r = 0; r < R; ++r) {
              __m256i a = _mm256_maddubs_epi16(q[0], activations(r, 0));
              // Two: from -zero * X, so that what meets a sub-scale fits int16.
              if constexpr (Two)
                a = _mm256_sub_epi16(
                    a, _mm256_mullo_epi16(zero16,
                                          _mm256_set1_epi32(job.sums[(m0 + r) * job.units + u])));
              const auto product = [&](int i) {
                return _mm256_maddubs_epi16(q[i], activations(r, i));
              };
              if constexpr (B == 2) {  // the fours are at most 4 * 2 * 127 * 12, and exact quarters
                __m256i fours = product(1);
                for (int i = 2; i < 8; i += 2) {
                  a = _mm256_add_epi16(a, product(i));
                  fours = _mm256_add_epi16(fours, product(i + 1));
                }
                a = _mm256_add_epi16(a, _mm256_srai_epi16(fours, 2));
              } else {
                for (int i = 1; i < 8; ++i) a = _mm256_add_epi16(a, product(i));
              }
              sum[r][j][h] = _mm256_add_epi32(sum[r][j][h], _mm256_madd_epi16(a, times));
            }
          }
        }
      }
    }
    if (Two && !place.ends() && u + 1 < job.units) continue;
    const int64_t group = place.group;
    for (int j = 0; j < J; ++j) {
      for (int h = 0; h < 2; ++h) {
        const __m256 s = unit_scales<B, Two>(w, base[j], group, h);
        for (int r = 0; r < R; ++r) {
          const int64_t at = (m0 + r) * job.units + u;
          __m256i whole = sum[r][j][h];
          if constexpr (!Two)
            whole = _mm256_sub_epi32(
                whole, zero_sums(w, base[j], group, h, _mm256_set1_epi32(job.sums[at]), zero16));
          const __m256 d = _mm256_cvtepi32_ps(whole);
          y[r][j][h] = _mm256_fmadd_ps(d, _mm256_mul_ps(s, _mm256_set1_ps(job.a[at])), y[r][j][h]);
        }
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      store_tile_row(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, y[r][j][0], y[r][j][1],
                     w.rows - tile[j] * kTileRows);
}

// 8 sums of 8 lanes: four tiles by one row, two by two, one by four.
template <int B, bool Two>
void tiles(const IntMatmul& job) {
  by_tiles<2>(job.tile_begin, job.tile_end, job.m, [&](auto tiles, const int64_t* tile) {
    constexpr int J = decltype(tiles)::kValue;
    by_rows<4 / J>(job.m, [&](auto rows, int64_t m) {
      constexpr int R = decltype(rows)::kValue;
      if constexpr (kBits<B> == 4 && R == 1)
        walk_row4<J, B == kBook ? Row4::book : Two ? Row4::two_levels : Row4::plain>(job, tile, m);
      else
        walk<B, J, R, Two>(job, tile, m);
    });
  });
}

}  // namespace

void gemv_int(const IntMatmul& job) noexcept {
  by_kind(job.w, [&](auto b) {
    if constexpr (b.kValue <= 4)
      if (job.w.sub_offset >= 0) return tiles<b.kValue, true>(job);
    tiles<b.kValue, false>(job);
  });
}

}  // namespace halftone::kernel::avx2
