// Panels of 6 rows of int8 activations times low-bit tiles (prefill): a 6 x 16 block of sums in
// registers.
//
// A tile is unpacked once per K block to one byte per code (b <= 4) or one int16 (b = 8), so the
// inner loop is the same for every b <= 4. There 8 products of u8 by s8 fit int16 (2 * 127 * 15 * 8
// = 30480), and 32 k cost 2 instructions per 32 multiply-adds. All 16 registers are used: 12 sums,
// 2 weights, a broadcast, a product. GCC 12 spills that from intrinsics, hence the assembly.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx2_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx2 {
namespace {

constexpr int64_t kBlockCols = 512;  // K at a time: 8 KiB of unpacked weights (16 for b = 8)
constexpr int64_t kBlockRows = 96;   // M at a time: 6 KiB of sums, and activations that stay in L2

// One panel's share of the running sums.
struct alignas(32) Panel {
  float y[kPanelRows][kTileRows];
};

// One quad: both halves of the tile times six rows, on top of what the sums hold. \q is the quad.
#define HALFTONE_ADD_QUAD                                        \
  "vmovdqa \\q*64(%[w]), %[w0]\n"                                \
  "vmovdqa \\q*64+32(%[w]), %[w1]\n"                             \
  "vpbroadcastd \\q*24+0(%[x]), %[b]\n"                          \
  "vpmaddubsw %[b], %[w0], %[p]\n vpaddw %[p], %[s0], %[s0]\n"   \
  "vpmaddubsw %[b], %[w1], %[b]\n vpaddw %[b], %[s6], %[s6]\n"   \
  "vpbroadcastd \\q*24+4(%[x]), %[b]\n"                          \
  "vpmaddubsw %[b], %[w0], %[p]\n vpaddw %[p], %[s1], %[s1]\n"   \
  "vpmaddubsw %[b], %[w1], %[b]\n vpaddw %[b], %[s7], %[s7]\n"   \
  "vpbroadcastd \\q*24+8(%[x]), %[b]\n"                          \
  "vpmaddubsw %[b], %[w0], %[p]\n vpaddw %[p], %[s2], %[s2]\n"   \
  "vpmaddubsw %[b], %[w1], %[b]\n vpaddw %[b], %[s8], %[s8]\n"   \
  "vpbroadcastd \\q*24+12(%[x]), %[b]\n"                         \
  "vpmaddubsw %[b], %[w0], %[p]\n vpaddw %[p], %[s3], %[s3]\n"   \
  "vpmaddubsw %[b], %[w1], %[b]\n vpaddw %[b], %[s9], %[s9]\n"   \
  "vpbroadcastd \\q*24+16(%[x]), %[b]\n"                         \
  "vpmaddubsw %[b], %[w0], %[p]\n vpaddw %[p], %[s4], %[s4]\n"   \
  "vpmaddubsw %[b], %[w1], %[b]\n vpaddw %[b], %[s10], %[s10]\n" \
  "vpbroadcastd \\q*24+20(%[x]), %[b]\n"                         \
  "vpmaddubsw %[b], %[w0], %[p]\n vpaddw %[p], %[s5], %[s5]\n"   \
  "vpmaddubsw %[b], %[w1], %[b]\n vpaddw %[b], %[s11], %[s11]\n"

// int16 sums of 8 quads (32 k) in h[6 * half + row]; `start` begins them, `go_on` adds to them.
// w [8 quads][16 rows][4], x [8 quads][6 rows][4].
inline void start(const uint8_t* w, const int8_t* x, __m256i (&h)[12]) {
  __m256i w0, w1, b, p;
  asm("vmovdqa (%[w]), %[w0]\n"
      "vmovdqa 32(%[w]), %[w1]\n"
      "vpbroadcastd 0(%[x]), %[b]\n vpmaddubsw %[b], %[w0], %[s0]\n vpmaddubsw %[b], %[w1], %[s6]\n"
      "vpbroadcastd 4(%[x]), %[b]\n vpmaddubsw %[b], %[w0], %[s1]\n vpmaddubsw %[b], %[w1], %[s7]\n"
      "vpbroadcastd 8(%[x]), %[b]\n vpmaddubsw %[b], %[w0], %[s2]\n vpmaddubsw %[b], %[w1], %[s8]\n"
      "vpbroadcastd 12(%[x]), %[b]\n vpmaddubsw %[b], %[w0], %[s3]\n vpmaddubsw %[b], %[w1], "
      "%[s9]\n"
      "vpbroadcastd 16(%[x]), %[b]\n vpmaddubsw %[b], %[w0], %[s4]\n vpmaddubsw %[b], %[w1], "
      "%[s10]\n"
      "vpbroadcastd 20(%[x]), %[b]\n vpmaddubsw %[b], %[w0], %[s5]\n vpmaddubsw %[b], %[w1], "
      "%[s11]\n"
      ".irp q,1,2,3,4,5,6,7\n" HALFTONE_ADD_QUAD ".endr\n"
      : [s0] "=&x"(h[0]), [s1] "=&x"(h[1]), [s2] "=&x"(h[2]), [s3] "=&x"(h[3]), [s4] "=&x"(h[4]),
        [s5] "=&x"(h[5]), [s6] "=&x"(h[6]), [s7] "=&x"(h[7]), [s8] "=&x"(h[8]), [s9] "=&x"(h[9]),
        [s10] "=&x"(h[10]), [s11] "=&x"(h[11]), [w0] "=&x"(w0), [w1] "=&x"(w1), [b] "=&x"(b),
        [p] "=&x"(p)
      : [w] "r"(w), [x] "r"(x)
      : "memory");
}

inline void go_on(const uint8_t* w, const int8_t* x, __m256i (&h)[12]) {
  __m256i w0, w1, b, p;
  asm(".irp q,0,1,2,3,4,5,6,7\n" HALFTONE_ADD_QUAD ".endr\n"
      : [s0] "+x"(h[0]), [s1] "+x"(h[1]), [s2] "+x"(h[2]), [s3] "+x"(h[3]), [s4] "+x"(h[4]),
        [s5] "+x"(h[5]), [s6] "+x"(h[6]), [s7] "+x"(h[7]), [s8] "+x"(h[8]), [s9] "+x"(h[9]),
        [s10] "+x"(h[10]), [s11] "+x"(h[11]), [w0] "=&x"(w0), [w1] "=&x"(w1), [b] "=&x"(b),
        [p] "=&x"(p)
      : [w] "r"(w), [x] "r"(x)
      : "memory");
}
#undef HALFTONE_ADD_QUAD

// The same for int16: w [8 quads][(k0, k2) | (k1, k3)][16 rows][2], x [8 quads][(k0, k2) | (k1,
// k3)][6 rows][2].
inline void block_i16(const uint8_t* w, const int16_t* x, __m256i* sums) {
  asm volatile(
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vmovdqa \\i*32(%[sums]), %%ymm\\i\n"
      ".endr\n"
      ".irp q,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
      "vmovdqa \\q*64(%[w]), %%ymm12\n"
      "vmovdqa \\q*64+32(%[w]), %%ymm13\n"
      "vpbroadcastd \\q*24(%[x]), %%ymm14\n"
      "vpmaddwd %%ymm14, %%ymm12, %%ymm15\n vpaddd %%ymm15, %%ymm0, %%ymm0\n"
      "vpmaddwd %%ymm14, %%ymm13, %%ymm14\n vpaddd %%ymm14, %%ymm6, %%ymm6\n"
      "vpbroadcastd \\q*24+4(%[x]), %%ymm14\n"
      "vpmaddwd %%ymm14, %%ymm12, %%ymm15\n vpaddd %%ymm15, %%ymm1, %%ymm1\n"
      "vpmaddwd %%ymm14, %%ymm13, %%ymm14\n vpaddd %%ymm14, %%ymm7, %%ymm7\n"
      "vpbroadcastd \\q*24+8(%[x]), %%ymm14\n"
      "vpmaddwd %%ymm14, %%ymm12, %%ymm15\n vpaddd %%ymm15, %%ymm2, %%ymm2\n"
      "vpmaddwd %%ymm14, %%ymm13, %%ymm14\n vpaddd %%ymm14, %%ymm8, %%ymm8\n"
      "vpbroadcastd \\q*24+12(%[x]), %%ymm14\n"
      "vpmaddwd %%ymm14, %%ymm12, %%ymm15\n vpaddd %%ymm15, %%ymm3, %%ymm3\n"
      "vpmaddwd %%ymm14, %%ymm13, %%ymm14\n vpaddd %%ymm14, %%ymm9, %%ymm9\n"
      "vpbroadcastd \\q*24+16(%[x]), %%ymm14\n"
      "vpmaddwd %%ymm14, %%ymm12, %%ymm15\n vpaddd %%ymm15, %%ymm4, %%ymm4\n"
      "vpmaddwd %%ymm14, %%ymm13, %%ymm14\n vpaddd %%ymm14, %%ymm10, %%ymm10\n"
      "vpbroadcastd \\q*24+20(%[x]), %%ymm14\n"
      "vpmaddwd %%ymm14, %%ymm12, %%ymm15\n vpaddd %%ymm15, %%ymm5, %%ymm5\n"
      "vpmaddwd %%ymm14, %%ymm13, %%ymm14\n vpaddd %%ymm14, %%ymm11, %%ymm11\n"
      ".endr\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vmovdqa %%ymm\\i, \\i*32(%[sums])\n"
      ".endr\n"
      :
      : [w] "r"(w), [x] "r"(x), [sums] "r"(sums)
      : "memory", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9",
        "ymm10", "ymm11", "ymm12", "ymm13", "ymm14", "ymm15");
}

// 32 k of a tile to the form the blocks read.
template <int B>
void unpack_tile(const Tiles& w, const uint8_t* lines, uint8_t* out) {
  for (int h = 0; h < 2; ++h) {
    __m256i q[8];
    unpack<B>(w, lines + h * 32, q);
    for (int i = 0; i < 8; ++i) {
      if constexpr (B >= 5) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * 128 + h * 32),
                           _mm256_and_si256(q[i], _mm256_set1_epi16(255)));
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * 128 + 64 + h * 32),
                           _mm256_srli_epi16(q[i], 8));
      } else {
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * 64 + h * 32), q[i]);
      }
    }
  }
}

// 32 k of a panel, 8 quads x 6 rows of 4 bytes, to int16 pairs: 192 bytes become 384.
inline void widen(const int8_t* x, int16_t* out) {
  for (int q = 0; q < 8; ++q) {
    const int8_t* from = x + q * 24;
    const __m256i v = _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))),
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 16)), 1);
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8),
                  odd = _mm256_srai_epi16(v, 8);
    int16_t* e = out + q * 24;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(e), _mm256_castsi256_si128(even));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(e + 8), _mm256_extracti128_si256(even, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(e + 12), _mm256_castsi256_si128(odd));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(e + 20), _mm256_extracti128_si256(odd, 1));
  }
}

template <int B>
constexpr int64_t kColBytes = B >= 5 ? 32 : 16;  // of an unpacked tile, per k

// What a unit needs of the tile: codes, scales, and minus the zero-points as two int16 in a lane.
struct Unit {
  const uint8_t* w;
  __m256 scale[2];
  __m256i minus_zero[2];
};

// Two-level scales: a panel times a tile over 32 k. `sub` and `minus_zero` as int16 pairs; `whole`
// holds the sums of a group so far times their sub-scales, which end in `out`. Sums start from
// -zero * X, so that what meets a sub-scale fits int16.
template <bool Begins, bool Ends>
[[gnu::noinline]] void sub_unit(const uint8_t* w, const int8_t* x, const __m256i* sub,
                                __m256i minus_zero, const int32_t* x_sums, const __m256* scale,
                                const float* a, __m256i* whole, Panel& out) {
  constexpr int R = kPanelRows;
  __m256i h[2 * R];
#pragma GCC unroll 6
  for (int i = 0; i < R; ++i)
    h[i] = h[R + i] = _mm256_mullo_epi16(minus_zero, _mm256_set1_epi32(x_sums[i]));
  go_on(w, x, h);
#pragma GCC unroll 12
  for (int i = 0; i < 2 * R; ++i) {
    h[i] = _mm256_madd_epi16(h[i], sub[i / R]);
    if constexpr (!Begins) h[i] = _mm256_add_epi32(h[i], whole[i]);
    if constexpr (Ends) {
      float* y = out.y[i % R] + i / R * 8;
      const __m256 sa = _mm256_mul_ps(scale[i / R], _mm256_set1_ps(a[i % R]));
      _mm256_store_ps(y, _mm256_fmadd_ps(_mm256_cvtepi32_ps(h[i]), sa, _mm256_load_ps(y)));
    } else {
      whole[i] = h[i];
    }
  }
}

// The same over units [u0, u1), whole groups of two or more.
inline void sub_panel(const IntMatmul& job, const uint8_t* base, const uint8_t* unpacked, int64_t m,
                      int64_t u0, int64_t u1, Panel& out) {
  const Tiles& w = job.w;
  const __m256i minus_zero = _mm256_set1_epi16(static_cast<int16_t>(-w.zero));
  alignas(32) __m256i whole[2 * kPanelRows];
  for (int64_t u = u0; u < u1;) {
    const int64_t group = u / job.units_per_group,
                  end = smaller(u1, (group + 1) * job.units_per_group), first = u;
    const __m256 scale[2] = {scales(w, base, group, 0), scales(w, base, group, 1)};
    for (; u < end; ++u) {
      const int64_t k = u * kTileCols, at = m * job.units + u * kPanelRows;
      const __m256i sub[2] = {sub_pairs(w, base, k / w.sub, 0), sub_pairs(w, base, k / w.sub, 1)};
      const auto run = u == first ? (u + 1 == end ? sub_unit<true, true> : sub_unit<true, false>)
                                  : (u + 1 == end ? sub_unit<false, true> : sub_unit<false, false>);
      run(unpacked + (u - u0) * kTileCols * kTileRows, job.x + m * w.padded_cols + k * kPanelRows,
          sub, minus_zero, job.sums + at, scale, job.a + at, whole, out);
    }
  }
}

// A panel times a tile over one unit of `count` k.
template <int B>
[[gnu::noinline]] void unit(const Unit& in, const int8_t* x, int64_t count, const int32_t* x_sums,
                            const float* a, Panel& out) {
  constexpr int R = kPanelRows;
  alignas(32) __m256i sums[2 * R];
  // Start from -zero * X.
#pragma GCC unroll 6
  for (int i = 0; i < R; ++i) {
    const __m256i total = _mm256_set1_epi32(x_sums[i]);
    sums[i] = _mm256_madd_epi16(in.minus_zero[0], total);
    sums[R + i] = _mm256_madd_epi16(in.minus_zero[1], total);
  }
  const auto finish = [&](int i, __m256i d) {
    float* y = out.y[i % R] + i / R * 8;
    const __m256 sa = _mm256_mul_ps(in.scale[i / R], _mm256_set1_ps(a[i % R]));
    _mm256_store_ps(y, _mm256_fmadd_ps(_mm256_cvtepi32_ps(d), sa, _mm256_load_ps(y)));
  };
  const uint8_t* w = in.w;
  if constexpr (B >= 5) {
    for (; count > 0; count -= kTileCols, w += kTileCols * kColBytes<B>, x += kTileCols * R) {
      alignas(32) int16_t wide[kTileCols * R];
      widen(x, wide);
      block_i16(w, wide, sums);
    }
#pragma GCC unroll 12
    for (int i = 0; i < 2 * R; ++i) finish(i, sums[i]);
  } else {
    const __m256i ones = _mm256_set1_epi16(1);
    for (;;) {
      __m256i h[2 * R];
      start(w, x, h);
      w += kTileCols * kColBytes<B>;
      x += kTileCols * R;
      count -= kTileCols;
      if (B <= 3 && count > 0) {  // 16 quads of at most 2 * 127 * 7 still fit int16
        go_on(w, x, h);
        w += kTileCols * kColBytes<B>;
        x += kTileCols * R;
        count -= kTileCols;
      }
      if (count <= 0) {
#pragma GCC unroll 12
        for (int i = 0; i < 2 * R; ++i)
          finish(i, _mm256_add_epi32(_mm256_madd_epi16(h[i], ones), sums[i]));
        return;
      }
#pragma GCC unroll 12
      for (int i = 0; i < 2 * R; ++i)
        sums[i] = _mm256_add_epi32(_mm256_madd_epi16(h[i], ones), sums[i]);
    }
  }
}

// ... over units [u0, u1); `unpacked` starts at the first of them.
template <int B>
void panel(const IntMatmul& job, const uint8_t* base, const uint8_t* unpacked, int64_t m,
           int64_t u0, int64_t u1, Panel& out) {
  const Tiles& w = job.w;
  for (int64_t u = u0; u < u1; ++u) {
    const int64_t begin = u * job.unit, count = smaller(begin + job.unit, w.padded_cols) - begin;
    const int64_t group = u / job.units_per_group, at = m * job.units + u * kPanelRows;
    Unit in;
    in.w = unpacked + (begin - u0 * job.unit) * kColBytes<B>;
    for (int h = 0; h < 2; ++h) {
      in.scale[h] = scales(w, base, group, h);
      in.minus_zero[h] = _mm256_sub_epi16(_mm256_setzero_si256(), zero_pairs(w, base, group, h));
    }
    unit<B>(in, job.x + m * w.padded_cols + begin * kPanelRows, count, job.sums + at, job.a + at,
            out);
  }
}

#include "halftone/kernel/gemm_body.h"

template <int B>
void product(const IntMatmul& job) {
  alignas(64) uint8_t unpacked[kBlockCols * kColBytes<B>];
  by_blocks(
      job,
      [&](const uint8_t* base, int64_t k0, int64_t k1) {
        for (int64_t k = k0; k < k1; k += kTileCols)
          unpack_tile<B>(job.w, base + job.w.codes_offset + k / kTileCols * 64 * kBits<B>,
                         unpacked + (k - k0) * kColBytes<B>);
      },
      [&](const uint8_t* base, int64_t m, int64_t u0, int64_t u1, Panel& out) {
        if constexpr (B <= 4)
          if (job.w.sub_offset >= 0) return sub_panel(job, base, unpacked, m, u0, u1, out);
        panel<B>(job, base, unpacked, m, u0, u1, out);
      });
}

}  // namespace

void gemm_int(const IntMatmul& job) noexcept {
  by_kind(job.w, [&](auto b) { product<b.kValue>(job); });
}

}  // namespace halftone::kernel::avx2
