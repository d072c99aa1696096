// Panels of 16 rows of int8 activations times low-bit tiles with AMX: 32 rows x 2 tiles at a time
// are four 16 x 16 sums in tile registers. A line of unpacked codes is one row of a B register, so
// tiles are read as they are. Sums of a unit go through the first cache to the vector registers,
// where they are scaled and added: that, not the products, sets the pace.
//
// Codes are unpacked once per K block to signed bytes without their zero-point. Only 8-bit codes
// with zero-points of their own do not fit that; they stay unsigned and zero * sum(x) is subtracted
// from their sums.
//
// Two-level scales: codes times sub-scales are 12 bits, kept as a signed high and an unsigned low
// byte. Twice the products, but none of their sums is touched before the end of the group.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/amx_tiles.h"
#include "halftone/kernel/avx512_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::amx {
namespace {

using namespace avx512;  // unpack, scales, zeros, first_lanes

constexpr int64_t kR = amx::kPanelRows;
static_assert(kR == 16 && kTileRows == 16);
// Blocks, from the outside in, so that what repeats lies near: unpacked weights in the second cache
// (128 KiB), then their K block (8 KiB), the running sums (8 KiB) and the integer sums (16 KiB) in
// the first.
constexpr int64_t kRoomCols = 4096, kBlockRows = 256;  // K and M that one unpacking serves
constexpr int64_t kInnerCols = 256, kInnerRows = 64;
constexpr int64_t kSumsAtOnce = 4;  // per panel and tile; two-level sums are two of them

struct alignas(64) Square {
  int32_t sum[kR][kTileRows];
};
struct alignas(64) Running {
  float y[kR][kTileRows];
};

// How codes are kept in `room`.
enum class Codes {
  plain,    // unsigned, with zero-points
  centred,  // signed, without
  folded,   // two-level scales: times their sub-scales, high bytes and low bytes
};

struct Step {
  const uint8_t* base[2];   // tiles
  const uint8_t* codes[2];  // from sum `origin` on, a byte per code: [quad][16][4]
  const uint8_t* low[2];    // folded: the low bytes, likewise
  int64_t origin;
  // What is summed before it is scaled: `width` k, `count` of them; units in each.
  int64_t width, count, units;
};

// 32 k of 16 rows -> signed bytes without the zero-point, or (8 bits with zero-points) unsigned.
template <int B>
inline void unpack_signed(const Tiles& w, const uint8_t* lines, __m512i zero, uint8_t* to) {
  __m512i q[8];
  unpack<B>(w, lines, q);
  for (int i = 0; i < 8; ++i) _mm512_store_si512(to + i * 64, _mm512_sub_epi8(q[i], zero));
}

// 32 k of 16 rows -> codes less zero times sub-scale, as signed high and unsigned low bytes.
template <int B>
inline void unpack_folded(const Tiles& w, const uint8_t* lines, __m512i zero, __m512i sub,
                          uint8_t* high, uint8_t* low) {
  __m512i q[8];
  unpack<B>(w, lines, q);
  const __m512i bytes = _mm512_set1_epi16(255);
  for (int i = 0; i < 8; ++i) {
    const __m512i c = _mm512_sub_epi8(q[i], zero);
    const __m512i even = _mm512_mullo_epi16(_mm512_srai_epi16(_mm512_slli_epi16(c, 8), 8), sub);
    const __m512i odd = _mm512_mullo_epi16(_mm512_srai_epi16(c, 8), sub);
    // mask ? a : b
    _mm512_store_si512(low + i * 64,
                       _mm512_ternarylogic_epi32(bytes, even, _mm512_slli_epi16(odd, 8), 0xca));
    _mm512_store_si512(high + i * 64,
                       _mm512_ternarylogic_epi32(bytes, _mm512_srli_epi16(even, 8), odd, 0xca));
  }
}

// One byte for each row -> the same in the 4 bytes of its lane.
inline __m512i four_times(__m512i lanes) {
  const __m512i two = _mm512_or_si512(lanes, _mm512_slli_epi32(lanes, 8));
  return _mm512_or_si512(two, _mm512_slli_epi32(two, 16));
}

// y += scale * a * sum for one panel and tile over `Count` sums from `u` on. `from` null: y starts
// at 0. plain: subtracts zero * sum(x). A function of its own without a loop, so that GCC 12 keeps
// y in registers and moves it nowhere.
template <Codes C, int Count>
[[gnu::noinline]] void scale_and_add(const IntMatmul& job, const Step& step, const uint8_t* base,
                                     int64_t m, int64_t u, const Square* in, const Running* from,
                                     float* to, int64_t ld, int64_t rows, __mmask16 lanes) {
  const Tiles& w = job.w;
  __m512 y[kR];
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i)
    y[i] = from == nullptr ? _mm512_setzero_ps() : _mm512_load_ps(from->y[i]);
#pragma GCC unroll 4
  for (int c = 0; c < Count; ++c, in += C == Codes::folded ? 8 : 4) {
    const int64_t first = (u + c) * step.units, group = first / job.units_per_group,
                  at = m * job.units + first * kR;
    const __m512 s = scales(w, base, group);
    const __m512i z = C == Codes::plain ? zero_pairs(w, base, group) : _mm512_setzero_si512();
    const float* a = job.a + at;
    const int32_t* sums = job.sums + at;
#pragma GCC unroll 16
    for (int i = 0; i < kR; ++i) {
      __m512i d = load(in->sum[i]);
      if constexpr (C == Codes::plain)
        d = _mm512_sub_epi32(d, _mm512_madd_epi16(z, _mm512_set1_epi32(sums[i])));
      if constexpr (C == Codes::folded)
        d = _mm512_add_epi32(_mm512_slli_epi32(d, 8), load(in[4].sum[i]));
      y[i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d), _mm512_mul_ps(s, _mm512_set1_ps(a[i])), y[i]);
    }
  }
  if (rows == kR && lanes == 0xffff) {
#pragma GCC unroll 16
    for (int i = 0; i < kR; ++i) _mm512_storeu_ps(to + i * ld, y[i]);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kR; ++i)
      if (i < rows) _mm512_mask_storeu_ps(to + i * ld, lanes, y[i]);
  }
}

// Integer sums of M panels (1 or 2) by T tiles: out[2 * panel + tile] for each call of sum(). Sums
// leave the tile registers when the products of the next have been started, because a product takes
// 52 cycles; the last ones at finish().
template <int M, int T>
class Multiplier {
 public:
  Multiplier(const IntMatmul& job, int64_t m) : job_(job), m_(m) {}

  // Over columns [begin, end); codes of those columns at w0 and w1.
  template <bool Signed>
  void sum(int64_t begin, int64_t end, const uint8_t* w0, const uint8_t* w1, Square* out) {
    const int64_t depth = job_.depth;
    const int8_t* x0 = job_.x + m_ * job_.w.padded_cols + begin * kR;
    const int8_t* x[2] = {x0, x0 + (M == 2 ? kR * job_.w.padded_cols : 0)};
    const uint8_t* w[2] = {w0, w1};
    products<true, Signed>(x, w);
    for (int64_t k = begin + depth; k < end; k += depth) {
      for (auto& panel : x) panel += kR * depth;
      for (auto& tile : w) tile += kTileRows * depth;
      products<false, Signed>(x, w);
    }
    unsaved_ = out;
  }
  void finish() {
    save<0>();
    save<1>();
    save<2>();
    save<3>();
    unsaved_ = nullptr;
  }

 private:
  template <int C>
  static constexpr bool kUsed = C / 2 < M&& C % 2 < T;

  template <int C>
  void save() {
    if constexpr (kUsed<C>)
      if (unsaved_ != nullptr) tile_store<C>(unsaved_[C].sum, 64);
  }

  // Sum C = 2 * panel + tile.
  template <int C, bool First, bool Signed>
  void product() {
    if constexpr (First) {
      save<C>();
      tile_zero<C>();
    }
    multiply_add<C, 4 + C / 2, 6 + C % 2, Signed>();
  }

  template <bool First, bool Signed>
  void products(const int8_t* const* x, const uint8_t* const* w) {
    tile_load<4>(x[0], job_.depth);
    tile_load<6>(w[0], 64);
    product<0, First, Signed>();
    if constexpr (T == 2) {
      tile_load<7>(w[1], 64);
      product<1, First, Signed>();
    }
    if constexpr (M == 2) {
      tile_load<5>(x[1], job_.depth);
      product<2, First, Signed>();
      if constexpr (T == 2) product<3, First, Signed>();
    }
  }

  const IntMatmul& job_;
  int64_t m_;
  Square* unsaved_ = nullptr;
};

// M panels from row m by T tiles over sums [u0, u1), into y at the last of all and into `running`
// before.
template <int M, int T, Codes C>
void panels(const IntMatmul& job, const Step& step, int64_t tile, int64_t m, int64_t u0, int64_t u1,
            Running* running) {
  constexpr int64_t kAtOnce = C == Codes::folded ? kSumsAtOnce / 2 : kSumsAtOnce;
  Square sums[kSumsAtOnce * 4];
  Multiplier<M, T> multiplier(job, m);
  for (int64_t u = u0; u < u1; u += kAtOnce) {
    const int64_t count = smaller(kAtOnce, u1 - u);
    Square* out = sums;
    for (int64_t i = u; i < u + count; ++i, out += 4) {
      const int64_t begin = i * step.width, end = smaller(begin + step.width, job.w.padded_cols),
                    at = (begin - step.origin * step.width) * kTileRows;
      multiplier.template sum<C != Codes::plain>(begin, end, step.codes[0] + at,
                                                 step.codes[T - 1] + at, out);
      if constexpr (C == Codes::folded)
        multiplier.template sum<false>(begin, end, step.low[0] + at, step.low[T - 1] + at,
                                       out += 4);
    }
    multiplier.finish();
    const bool starts = u == 0, ends = u + count == step.count;
    for (int p = 0; p < M; ++p)
      for (int t = 0; t < T; ++t) {
        Running& r = running[p * 2 + t];
        const int64_t row = m + p * kR, n = (tile + t) * kTileRows;
        const auto scale = [&](auto units) {
          scale_and_add<C, decltype(units)::kValue>(
              job, step, step.base[t], row, u, sums + p * 2 + t, starts ? nullptr : &r,
              ends ? job.y + row * job.ldy + n : r.y[0], ends ? job.ldy : kTileRows,
              ends ? job.m - row : kR, first_lanes(ends ? job.w.rows - n : kTileRows));
        };
        static_assert(kSumsAtOnce == 4);
        switch (count) {
          case 1:
            scale(Index<1>());
            break;
          case 2:
            scale(Index<2>());
            break;
          case 3:
            if constexpr (kAtOnce > 2) scale(Index<3>());
            break;
          default:
            if constexpr (kAtOnce > 2) scale(Index<4>());
        }
      }
  }
}

// Codes of one tile from column k0 to k1 into step.codes[t] and, folded, step.low[t].
template <int B, Codes C>
void unpack_block(const Tiles& w, const Step& step, int t, int64_t k0, int64_t k1, uint8_t* codes,
                  uint8_t* low) {
  const uint8_t* base = step.base[t];
  const uint8_t* lines = base + w.codes_offset + k0 / kTileCols * 64 * kBits<B>;
  for (int64_t k = k0; k < k1;) {
    const int64_t group = k / w.group, end = smaller(k1, (group + 1) * w.group);
    const __m512i zero = four_times(zeros(w, base, group));
    for (; k < end; k += kTileCols, lines += 64 * kBits<B>, codes += 8 * 64, low += 8 * 64) {
      if constexpr (C == Codes::folded) {
        const __m512i sub = subs(w, base, k / w.sub);
        unpack_folded<B>(w, lines, zero, _mm512_or_si512(sub, _mm512_slli_epi32(sub, 16)), codes,
                         low);
      } else {
        unpack_signed<B>(w, lines, zero, codes);
      }
    }
  }
}

template <int B, int T, Codes C>
void tiles(const IntMatmul& job, int64_t tile, int64_t m0, int64_t m1, Running* running,
           uint8_t* room) {
  const Tiles& w = job.w;
  constexpr int64_t kPlanes = C == Codes::folded ? 2 : 1;
  Step step;
  step.width = C == Codes::folded ? w.group : job.unit;
  step.units = C == Codes::folded ? job.units_per_group : 1;
  step.count = (w.padded_cols + step.width - 1) / step.width;
  const int64_t outer = kRoomCols / kPlanes / step.width, most = kInnerCols / step.width;
  for (step.origin = 0; step.origin < step.count; step.origin += outer) {
    const int64_t last = smaller(step.origin + outer, step.count);
    const int64_t k0 = step.origin * step.width, k1 = smaller(last * step.width, w.padded_cols);
    for (int t = 0; t < T; ++t) {
      step.base[t] = w.data + (tile + t) * w.tile_bytes;
      step.codes[t] = step.base[t] + w.codes_offset + k0 * kTileRows;
      if constexpr (C != Codes::plain) {
        uint8_t* to = room + t * kRoomCols * kTileRows;
        uint8_t* low = to + kRoomCols / 2 * kTileRows;
        step.codes[t] = to;
        step.low[t] = low;
        unpack_block<B, C>(w, step, t, k0, k1, to, low);
      }
    }
    // K blocks of about one size: no short one whose sums are moved for little.
    const int64_t sums = last - step.origin, blocks = (sums + most - 1) / most,
                  inner = (sums + blocks - 1) / blocks;
    for (int64_t r = m0; r < m1; r += kInnerRows) {
      const int64_t end = smaller(r + kInnerRows, m1);
      for (int64_t u = step.origin; u < last; u += inner) {
        const int64_t u1 = smaller(u + inner, last);
        for (int64_t m = r; m < end; m += 2 * kR) {
          Running* at = running + (m - m0) / kR * 2;
          if (m == m0) {  // the next tiles come while these are multiplied
            const int64_t line = kTileRows * kBits<B> * step.width / 8;
            for (int t = 0; t < T; ++t)
              prefetch(step.base[t] + T * w.tile_bytes + w.codes_offset + u * line,
                       (u1 - u) * line);
          }
          if (m + kR < end)
            panels<2, T, C>(job, step, tile, m, u, u1, at);
          else
            panels<1, T, C>(job, step, tile, m, u, u1, at);
        }
      }
    }
  }
}

template <int B, Codes C>
void product(const IntMatmul& job) {
  alignas(64) uint8_t room[2 * kRoomCols * kTileRows];
  Running running[kBlockRows / kR * 2];
  for (int64_t m = 0; m < job.m; m += kBlockRows) {
    const int64_t m1 = smaller(m + kBlockRows, job.m);
    int64_t tile = job.tile_begin;
    for (; tile + 2 <= job.tile_end; tile += 2) tiles<B, 2, C>(job, tile, m, m1, running, room);
    if (tile < job.tile_end) tiles<B, 1, C>(job, tile, m, m1, running, room);
  }
}

}  // namespace

void gemm_int(const IntMatmul& job) noexcept {
  TileConfig config;
  for (int t = 0; t < 8; ++t) {
    const bool a = t == 4 || t == 5, b = t == 6 || t == 7;
    config.rows[t] = static_cast<uint8_t>(b ? job.depth / 4 : kR);
    config.row_bytes[t] = static_cast<uint16_t>(a ? job.depth : 64);
  }
  configure(config);
  by_kind(job.w, [&](auto b) {
    // 8-bit codes fit a signed byte where 128 is the zero-point of all, as a code book's do.
    if constexpr (b.kValue == 8)
      if (job.w.zeros_offset >= 0 || job.w.zero != 128) return product<b.kValue, Codes::plain>(job);
    if constexpr (b.kValue <= 4)
      if (job.w.sub_offset >= 0) return product<b.kValue, Codes::folded>(job);
    product<b.kValue, Codes::centred>(job);
  });
  release();
}

}  // namespace halftone::kernel::amx
