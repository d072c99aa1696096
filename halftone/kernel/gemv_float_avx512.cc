// One to eight rows of f32 activations times low-bit tiles ("exact" mode) or dense f32, f16 and
// bf16 tiles; as gemv_float_avx2.cc, with a tile row of 16 in one register.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx512 {
namespace {

template <Store S>
inline __m512 dense(const uint8_t* p) {
  if constexpr (S == Store::f32) return _mm512_load_ps(reinterpret_cast<const float*>(p));
  const __m256i v = _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  if constexpr (S == Store::f16) return _mm512_cvtph_ps(v);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}

// What both walks share: the sums y[r][j], and at the end their rows.
template <int J, int R>
struct Sums {
  __m512 y[R][J];
  Sums() {
    for (auto& row : y)
      for (auto& t : row) t = _mm512_setzero_ps();
  }
  void store(const FloatMatmul& job, const int64_t* tile, int64_t m0) const {
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < J; ++j)
        _mm512_mask_storeu_ps(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows,
                              first_lanes(job.w.rows - tile[j] * kTileRows), y[r][j]);
  }
};

template <Store S, int J, int R>
void walk_dense(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  constexpr int64_t kSize = S == Store::f32 ? 4 : 2;
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  const float* x = job.x + m0 * w.padded_cols;
  Sums<J, R> total;
  for (int64_t begin = 0; begin < w.padded_cols; begin += job.unit) {
    const int64_t end = smaller(begin + job.unit, w.padded_cols);
    Sums<J, R> part;
    for (int64_t k = begin; k < end; ++k) {
      for (int j = 0; j < J; ++j) {
        const __m512 v = dense<S>(base[j] + k * kTileRows * kSize);
        for (int r = 0; r < R; ++r)
          part.y[r][j] = _mm512_fmadd_ps(v, _mm512_set1_ps(x[r * w.padded_cols + k]), part.y[r][j]);
      }
    }
    for (int r = 0; r < R; ++r)
      for (int j = 0; j < J; ++j) total.y[r][j] = _mm512_add_ps(part.y[r][j], total.y[r][j]);
  }
  total.store(job, tile, m0);
}

// float(code - zero), exactly. b = 2 to 4: a permute looks the value up in 16 floats, those of a
// code book too; it uses the low 4 bits of a lane, so a shift of the line is all it needs (shorter
// codes: the table repeats). Others: as centred() does. Z: zero-points of each row, subtracted.
template <int B, bool Z>
struct Decoder {
  __m512 table, zero;
  Magic powers;
  void start(const Tiles& w) {
    const __m512i codes =
        _mm512_and_si512(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                         _mm512_set1_epi32((1 << kBits<B>)-1));
    if constexpr (B == kBook)
      table = _mm512_loadu_ps(w.value);
    else
      table = _mm512_cvtepi32_ps(_mm512_sub_epi32(codes, _mm512_set1_epi32(Z ? 0 : w.zero)));
  }
  void set(const Tiles& w, const uint8_t* base, int64_t group) {
    const __m512i z = zeros(w, base, group);
    zero = _mm512_cvtepi32_ps(z);
    powers = magic(z);
  }
  // Column I of a turn; `rest` is what rest_of() made of the lines.
  template <int I>
  __m512 value(const uint8_t* lines, const Rest<B>& rest) const {
    constexpr int kQuad = I / 4, kByte = I % 4;
    if constexpr (B == 8) {
      return centred<kByte>(load(lines + kQuad * 64), powers);
    } else if constexpr (kPlanes<B>) {
      return centred<kByte>(rest.quad[kQuad], powers);
    } else {
      constexpr bool kRest = B == 3 && kQuad >= 6;
      constexpr int kPerLine = B == 3 ? 2 : 8 / kBits<B>;
      const __m512i v = kRest ? rest.quad[0] : load(lines + (kRest ? 0 : kQuad / kPerLine) * 64);
      const __m512 code = _mm512_permutexvar_ps(
          _mm512_srli_epi32(v, 8 * kByte + kBits<B> * (kQuad % kPerLine)), table);
      return Z && B != kBook ? _mm512_sub_ps(code, zero) : code;
    }
  }
};

template <int B, int J, int R, bool Z>
void walk_codes(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  const Tiles& w = job.w;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  const float* x = job.x + m0 * w.padded_cols;
  Sums<J, R> total;
  Decoder<B, Z> decoder[J];
  for (auto& d : decoder) d.start(w);
  for (int64_t u = 0; u < job.units; ++u) {
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols),
                  group = u / job.units_per_group;
    Sums<J, R> part;
    for (int j = 0; j < J; ++j) decoder[j].set(w, base[j], group);
    for (int64_t k = begin; k < end; k += kTurn<B>) {
      const uint8_t* lines[J];
      Rest<B> rest[J];
      for (int j = 0; j < J; ++j) {
        lines[j] = base[j] + w.codes_offset + k / kTurn<B> * kTurnLines<B> * 64;
        rest_of<B>(w, lines[j], rest[j]);
      }
      unrolled<kTurn<B>>([&](auto index) __attribute__((always_inline)) {
        constexpr int I = decltype(index)::kValue;
        for (int j = 0; j < J; ++j) {
          const __m512 v = decoder[j].template value<I>(lines[j], rest[j]);
          for (int r = 0; r < R; ++r)
            part.y[r][j] =
                _mm512_fmadd_ps(v, _mm512_set1_ps(x[r * w.padded_cols + k + I]), part.y[r][j]);
        }
      });
    }
    for (int j = 0; j < J; ++j) {
      const __m512 s = plain_scales(w, base[j], group);
      for (int r = 0; r < R; ++r) total.y[r][j] = _mm512_fmadd_ps(s, part.y[r][j], total.y[r][j]);
    }
  }
  total.store(job, tile, m0);
}

constexpr int kNoZerosBits = 4;

#include "halftone/kernel/gemv_float_body.h"

}  // namespace

void gemv_float(const FloatMatmul& job) noexcept { walk_all(job); }

}  // namespace halftone::kernel::avx512
