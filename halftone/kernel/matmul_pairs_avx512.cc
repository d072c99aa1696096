// 2-bit weights in pairs times tables of pairs: as matmul_pairs_avx2.cc, a line in one register.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx512 {
namespace {

using Bytes = __m512i;
constexpr int kParts = 1;

inline Bytes low(Bytes v) { return _mm512_and_si512(v, _mm512_set1_epi8(15)); }
inline Bytes high(Bytes v) {
  return _mm512_and_si512(_mm512_srli_epi16(v, 4), _mm512_set1_epi8(15));
}
inline Bytes look_up(Bytes table, Bytes index) { return _mm512_shuffle_epi8(table, index); }

struct Sums {
  __m512i all, odd;
};
inline Sums cleared() { return {_mm512_setzero_si512(), _mm512_setzero_si512()}; }
inline void add(Sums& sum, Bytes first, Bytes second) {
  sum.all = _mm512_add_epi16(sum.all, _mm512_add_epi16(first, second));
  sum.odd = _mm512_add_epi16(
      sum.odd, _mm512_add_epi16(_mm512_srli_epi16(first, 8), _mm512_srli_epi16(second, 8)));
}

using Row = __m512;
inline Row zero_row() { return _mm512_setzero_ps(); }

struct Unit;
inline void add_unit(Row& y, const Sums& sum, const Unit& unit);
inline void store_row(float* y, Row row, int64_t columns) {
  _mm512_mask_storeu_ps(y, first_lanes(columns), row);
}

#include "halftone/kernel/matmul_pairs_body.h"

inline void add_unit(Row& y, const Sums& sum, const Unit& unit) {
  const auto quarters = [](__m512i v) {
    const __m256i two =
        _mm256_add_epi16(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    return _mm_add_epi16(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
  };
  const __m128i even = quarters(_mm512_sub_epi16(sum.all, _mm512_slli_epi16(sum.odd, 8))),
                odd = quarters(sum.odd);
  const __m256i rows =
      _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
  __m512i d = _mm512_slli_epi32(_mm512_cvtepu16_epi32(rows), 8);
  if (unit.w.zeros_offset < 0) {
    d = _mm512_add_epi32(d, _mm512_set1_epi32(unit.offset()));
  } else {
    const __m512i z = zeros(unit.w, unit.tile, unit.group),
                  centred = _mm512_sub_epi32(_mm512_add_epi32(z, z), _mm512_set1_epi32(3));
    d = _mm512_add_epi32(d, _mm512_set1_epi32(unit.bias()));
    d = _mm512_sub_epi32(d, _mm512_mullo_epi32(centred, _mm512_set1_epi32(unit.sum)));
  }
  y = _mm512_fmadd_ps(
      _mm512_cvtepi32_ps(d),
      _mm512_mul_ps(plain_scales(unit.w, unit.tile, unit.group), _mm512_set1_ps(unit.a)), y);
}

}  // namespace

void matmul_pairs(const IntMatmul& job) noexcept { walk_all(job); }

}  // namespace halftone::kernel::avx512
