// 2-bit weights in pairs times tables of pairs (matmul.h): a byte shuffle looks up what two k add
// to 16 rows, in each half of a register.
//
// Bytes are summed in 16-bit lanes without unpacking them: `all` as they come, an even row and 256
// times the odd one above it, `odd` the odd ones alone. Both sums of 128 bytes stay below 2^15, so
// that the even ones are what is left, whatever has overflowed in between.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx2_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx2 {
namespace {

using Bytes = __m256i;
constexpr int kParts = 2;

inline Bytes low(Bytes v) { return _mm256_and_si256(v, _mm256_set1_epi8(15)); }
inline Bytes high(Bytes v) {
  return _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(15));
}
inline Bytes look_up(Bytes table, Bytes index) { return _mm256_shuffle_epi8(table, index); }

struct Sums {
  __m256i all, odd;
};
inline Sums cleared() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
inline void add(Sums& sum, Bytes first, Bytes second) {
  sum.all = _mm256_add_epi16(sum.all, _mm256_add_epi16(first, second));
  sum.odd = _mm256_add_epi16(
      sum.odd, _mm256_add_epi16(_mm256_srli_epi16(first, 8), _mm256_srli_epi16(second, 8)));
  // Else GCC 12 joins the additions of all tables, and what it has put off spills.
  asm("" : "+x"(sum.all), "+x"(sum.odd));
}

struct Row {
  __m256 half[2];
};
inline Row zero_row() { return {{_mm256_setzero_ps(), _mm256_setzero_ps()}}; }

struct Unit;
inline void add_unit(Row& y, const Sums& sum, const Unit& unit);
inline void store_row(float* y, const Row& row, int64_t columns) {
  store_tile_row(y, row.half[0], row.half[1], columns);
}

#include "halftone/kernel/matmul_pairs_body.h"

inline void add_unit(Row& y, const Sums& sum, const Unit& unit) {
  const __m256i evens = _mm256_sub_epi16(sum.all, _mm256_slli_epi16(sum.odd, 8));
  const auto both = [](__m256i v) {
    return _mm_add_epi16(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  };
  const __m128i even = both(evens), odd = both(sum.odd);
  const __m128i rows[2] = {_mm_unpacklo_epi16(even, odd), _mm_unpackhi_epi16(even, odd)};
  const __m256 a = _mm256_set1_ps(unit.a);
  for (int h = 0; h < 2; ++h) {
    __m256i d = _mm256_slli_epi32(_mm256_cvtepu16_epi32(rows[h]), 8);
    if (unit.w.zeros_offset < 0) {
      d = _mm256_add_epi32(d, _mm256_set1_epi32(unit.offset()));
    } else {
      const __m256i z = zeros(unit.w, unit.tile, unit.group, h),
                    centred = _mm256_sub_epi32(_mm256_add_epi32(z, z), _mm256_set1_epi32(3));
      d = _mm256_add_epi32(d, _mm256_set1_epi32(unit.bias()));
      d = _mm256_sub_epi32(d, _mm256_mullo_epi32(centred, _mm256_set1_epi32(unit.sum)));
    }
    y.half[h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(d),
                                _mm256_mul_ps(plain_scales(unit.w, unit.tile, unit.group, h), a),
                                y.half[h]);
  }
}

}  // namespace

void matmul_pairs(const IntMatmul& job) noexcept { walk_all(job); }

}  // namespace halftone::kernel::avx2
