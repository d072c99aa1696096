// Panels of 16 rows of int8 activations times low-bit tiles with AMX: 32 rows x 2 tiles at a time
// are four 16 x 16 sums in tile registers. A line of unpacked codes is one row of a B register, so
// tiles are read as they are. Sums of a unit go through the first cache to the vector registers,
// where they are scaled and added: that, not the products, sets the pace.
//
// Codes are unpacked once per K block to signed bytes without their zero-point. Only 8-bit codes
// with zero-points of their own do not fit that; they stay unsigned and zero * sum(x) is subtracted
// from their sums.
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
constexpr int64_t kUnitsAtOnce = 4;

struct alignas(64) Square {
  int32_t sum[kR][kTileRows];
};
struct alignas(64) Running {
  float y[kR][kTileRows];
};

struct Step {
  const uint8_t* base[2];   // tiles
  const uint8_t* codes[2];  // from unit `origin` on, a byte per code: [quad][16][4]
  int64_t origin;
};

// 32 k of 16 rows -> signed bytes without the zero-point, or (8 bits with zero-points) unsigned.
template <int B>
inline void unpack_signed(const uint8_t* lines, __m512i zero, uint8_t* to) {
  __m512i q[8];
  unpack<B>(lines, q);
  for (int i = 0; i < 8; ++i) _mm512_store_si512(to + i * 64, _mm512_sub_epi8(q[i], zero));
}

// One byte for each row -> the same in the 4 bytes of its lane.
inline __m512i four_times(__m512i lanes) {
  const __m512i two = _mm512_or_si512(lanes, _mm512_slli_epi32(lanes, 8));
  return _mm512_or_si512(two, _mm512_slli_epi32(two, 16));
}

// y += scale * a * sum for one panel and tile over units [u, u + count). `from` null: y starts at
// 0. Z: subtracts zero * sum(x). A function of its own without a loop, so that GCC 12 keeps y in
// registers and moves it nowhere.
template <bool Z, int Count>
[[gnu::noinline]] void scale_and_add(const IntMatmul& job, const uint8_t* base, int64_t m,
                                     int64_t u, const Square* in, const Running* from, float* to,
                                     int64_t ld, int64_t rows, __mmask16 lanes) {
  const Tiles& w = job.w;
  __m512 y[kR];
#pragma GCC unroll 16
  for (int i = 0; i < kR; ++i)
    y[i] = from == nullptr ? _mm512_setzero_ps() : _mm512_load_ps(from->y[i]);
#pragma GCC unroll 4
  for (int c = 0; c < Count; ++c, in += 4) {
    const int64_t at = m * job.units + (u + c) * kR, group = (u + c) / job.units_per_group;
    const __m512 s = scales(w, base, group);
    const __m512i z = Z ? zeros(w, base, group) : _mm512_setzero_si512();
    const float* a = job.a + at;
    const int32_t* sums = job.sums + at;
#pragma GCC unroll 16
    for (int i = 0; i < kR; ++i) {
      __m512i d = load(in->sum[i]);
      // The sum of activations fits int16 and z has no high half, so madd is the 32-bit product.
      if constexpr (Z) d = _mm512_sub_epi32(d, _mm512_madd_epi16(z, _mm512_set1_epi32(sums[i])));
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

// Integer sums of M panels (1 or 2) by T tiles over units [u, u + count): out[4 * unit + 2 * panel +
// tile]. The sums of a unit leave the tile registers when the products of the next have been
// started, because a product takes 52 cycles.
template <int M, int T, bool Signed>
class Multiplier {
 public:
  Multiplier(const IntMatmul& job, const Step& step, int64_t m) : job_(job), step_(step), m_(m) {}

  void run(int64_t u, int64_t count, Square* out) {
    unsaved_ = nullptr;
    for (int64_t i = 0; i < count; ++i, out += 4) {
      const int64_t begin = (u + i) * job_.unit,
                    end = smaller(begin + job_.unit, job_.w.padded_cols), depth = job_.depth,
                    at = (begin - step_.origin * job_.unit) * kTileRows;
      const int8_t* x0 = job_.x + m_ * job_.w.padded_cols + begin * kR;
      const int8_t* x[2] = {x0, x0 + (M == 2 ? kR * job_.w.padded_cols : 0)};
      const uint8_t* w[2] = {step_.codes[0] + at, step_.codes[T - 1] + at};
      products<true>(x, w);
      for (int64_t k = begin + depth; k < end; k += depth) {
        for (auto& panel : x) panel += kR * depth;
        for (auto& tile : w) tile += kTileRows * depth;
        products<false>(x, w);
      }
      unsaved_ = out;
    }
    save<0>();
    save<1>();
    save<2>();
    save<3>();
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
  template <int C, bool First>
  void product() {
    if constexpr (First) {
      save<C>();
      tile_zero<C>();
    }
    multiply_add<C, 4 + C / 2, 6 + C % 2, Signed>();
  }

  template <bool First>
  void products(const int8_t* const* x, const uint8_t* const* w) {
    tile_load<4>(x[0], job_.depth);
    tile_load<6>(w[0], 64);
    product<0, First>();
    if constexpr (T == 2) {
      tile_load<7>(w[1], 64);
      product<1, First>();
    }
    if constexpr (M == 2) {
      tile_load<5>(x[1], job_.depth);
      product<2, First>();
      if constexpr (T == 2) product<3, First>();
    }
  }

  const IntMatmul& job_;
  const Step& step_;
  int64_t m_;
  Square* unsaved_ = nullptr;
};

// M panels from row m by T tiles over units [u0, u1), into y at the last of all units and into
// `running` before.
template <int M, int T, bool Z>
void panels(const IntMatmul& job, const Step& step, int64_t tile, int64_t m, int64_t u0, int64_t u1,
            Running* running) {
  Square sums[kUnitsAtOnce * 4];
  Multiplier<M, T, !Z> multiplier(job, step, m);
  for (int64_t u = u0; u < u1; u += kUnitsAtOnce) {
    const int64_t count = smaller(kUnitsAtOnce, u1 - u);
    multiplier.run(u, count, sums);
    const bool starts = u == 0, ends = u + count == job.units;
    for (int p = 0; p < M; ++p)
      for (int t = 0; t < T; ++t) {
        Running& r = running[p * 2 + t];
        const int64_t row = m + p * kR, n = (tile + t) * kTileRows;
        const auto scale = [&](auto units) {
          scale_and_add<Z, decltype(units)::kValue>(
              job, step.base[t], row, u, sums + p * 2 + t, starts ? nullptr : &r,
              ends ? job.y + row * job.ldy + n : r.y[0], ends ? job.ldy : kTileRows,
              ends ? job.m - row : kR, first_lanes(ends ? job.w.rows - n : kTileRows));
        };
        static_assert(kUnitsAtOnce == 4);
        switch (count) {
          case 1:
            scale(Index<1>());
            break;
          case 2:
            scale(Index<2>());
            break;
          case 3:
            scale(Index<3>());
            break;
          default:
            scale(Index<4>());
        }
      }
  }
}

// Codes of one tile from column k0 to k1, as signed bytes without their zero-points.
template <int B>
void unpack_block(const Tiles& w, const uint8_t* base, int64_t k0, int64_t k1, uint8_t* to) {
  const uint8_t* lines = base + w.codes_offset + k0 / kTileCols * 64 * B;
  for (int64_t k = k0; k < k1;) {
    const int64_t group = k / w.group, end = smaller(k1, (group + 1) * w.group);
    const __m512i zero = four_times(zeros(w, base, group));
    for (; k < end; k += kTileCols, lines += 64 * B, to += 8 * 64)
      unpack_signed<B>(lines, zero, to);
  }
}

template <int B, int T, bool Z>
void tiles(const IntMatmul& job, int64_t tile, int64_t m0, int64_t m1, Running* running,
           uint8_t* room) {
  const Tiles& w = job.w;
  const int64_t outer = kRoomCols / job.unit, most = kInnerCols / job.unit;
  Step step;
  for (step.origin = 0; step.origin < job.units; step.origin += outer) {
    const int64_t last = smaller(step.origin + outer, job.units);
    const int64_t k0 = step.origin * job.unit, k1 = smaller(last * job.unit, w.padded_cols);
    for (int t = 0; t < T; ++t) {
      step.base[t] = w.data + (tile + t) * w.tile_bytes;
      step.codes[t] = step.base[t] + w.codes_offset + k0 * kTileRows;
      if constexpr (!Z) {
        uint8_t* to = room + t * kRoomCols * kTileRows;
        step.codes[t] = to;
        unpack_block<B>(w, step.base[t], k0, k1, to);
      }
    }
    // K blocks of about one size: no short one whose sums are moved for little.
    const int64_t units = last - step.origin, blocks = (units + most - 1) / most,
                  inner = (units + blocks - 1) / blocks;
    for (int64_t r = m0; r < m1; r += kInnerRows) {
      const int64_t end = smaller(r + kInnerRows, m1);
      for (int64_t u = step.origin; u < last; u += inner) {
        const int64_t u1 = smaller(u + inner, last);
        for (int64_t m = r; m < end; m += 2 * kR) {
          Running* sums = running + (m - m0) / kR * 2;
          if (m == m0) {  // the next tiles come while these are multiplied
            const int64_t line = kTileRows * B * job.unit / 8;
            for (int t = 0; t < T; ++t)
              prefetch(step.base[t] + T * w.tile_bytes + w.codes_offset + u * line, (u1 - u) * line);
          }
          if (m + kR < end)
            panels<2, T, Z>(job, step, tile, m, u, u1, sums);
          else
            panels<1, T, Z>(job, step, tile, m, u, u1, sums);
        }
      }
    }
  }
}

template <int B, bool Z>
void product(const IntMatmul& job) {
  alignas(64) uint8_t room[2 * kRoomCols * kTileRows];
  Running running[kBlockRows / kR * 2];
  for (int64_t m = 0; m < job.m; m += kBlockRows) {
    const int64_t m1 = smaller(m + kBlockRows, job.m);
    int64_t tile = job.tile_begin;
    for (; tile + 2 <= job.tile_end; tile += 2) tiles<B, 2, Z>(job, tile, m, m1, running, room);
    if (tile < job.tile_end) tiles<B, 1, Z>(job, tile, m, m1, running, room);
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
  by_bits(job.w.bits, [&](auto b) {
    // 8-bit codes fit a signed byte where 128 is the zero-point of all.
    if (b.kValue == 8 && (job.w.zeros_offset >= 0 || job.w.zero != 128))
      product<b.kValue, true>(job);
    else
      product<b.kValue, false>(job);
  });
  release();
}

}  // namespace halftone::kernel::amx
