// Panels of 6 rows of int8 activations times low-bit tiles (prefill): a 6 x 16 block of sums in registers.
//
// A tile is unpacked once per K block to one byte per code (b <= 4) or one int16 (b = 8), so the inner loop is the same for every
// b <= 4. There 8 products of u8 by s8 fit int16 (2 * 127 * 15 * 8 = 30480), and 32 k cost 2 instructions per 32
// multiply-adds. All 16 registers are used: 12 sums, 2 weights, a broadcast, a product. GCC 12 spills that from
// intrinsics, hence the assembly.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx2_tiles.h"
#include "halftone/kernel/entries.h"

namespace halftone::kernel::avx2 {
namespace {

constexpr int64_t kBlockCols = 512;  // K at a time: 8 KiB of unpacked weights (16 for b = 8)
constexpr int64_t kBlockRows = 96;   // M at a time: 6 KiB of sums, and activations that stay in L2

// One panel's share of the running sums.
struct alignas(32) Panel {
  float y[kPanelRows][kTileRows];
};

// sums[6 * half + row] += the products of 32 k. w [8 quads][16 rows][4], x [8 quads][6 rows][4].
inline void block_i8(const uint8_t* w, const int8_t* x, __m256i* sums) {
  alignas(32) static constexpr int16_t kOnes[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  asm volatile(
      "vmovdqa (%[w]), %%ymm12\n"
      "vmovdqa 32(%[w]), %%ymm13\n"
      ".irp i,0,1,2,3,4,5\n"
      "vpbroadcastd \\i*4(%[x]), %%ymm14\n"
      "vpmaddubsw %%ymm14, %%ymm12, %%ymm\\i\n"
      ".if \\i==0\n vpmaddubsw %%ymm14, %%ymm13, %%ymm6\n .endif\n"
      ".if \\i==1\n vpmaddubsw %%ymm14, %%ymm13, %%ymm7\n .endif\n"
      ".if \\i==2\n vpmaddubsw %%ymm14, %%ymm13, %%ymm8\n .endif\n"
      ".if \\i==3\n vpmaddubsw %%ymm14, %%ymm13, %%ymm9\n .endif\n"
      ".if \\i==4\n vpmaddubsw %%ymm14, %%ymm13, %%ymm10\n .endif\n"
      ".if \\i==5\n vpmaddubsw %%ymm14, %%ymm13, %%ymm11\n .endif\n"
      ".endr\n"
      ".irp q,1,2,3,4,5,6,7\n"
      "vmovdqa \\q*64(%[w]), %%ymm12\n"
      "vmovdqa \\q*64+32(%[w]), %%ymm13\n"
      "vpbroadcastd \\q*24(%[x]), %%ymm14\n"
      "vpmaddubsw %%ymm14, %%ymm12, %%ymm15\n vpaddw %%ymm15, %%ymm0, %%ymm0\n"
      "vpmaddubsw %%ymm14, %%ymm13, %%ymm14\n vpaddw %%ymm14, %%ymm6, %%ymm6\n"
      "vpbroadcastd \\q*24+4(%[x]), %%ymm14\n"
      "vpmaddubsw %%ymm14, %%ymm12, %%ymm15\n vpaddw %%ymm15, %%ymm1, %%ymm1\n"
      "vpmaddubsw %%ymm14, %%ymm13, %%ymm14\n vpaddw %%ymm14, %%ymm7, %%ymm7\n"
      "vpbroadcastd \\q*24+8(%[x]), %%ymm14\n"
      "vpmaddubsw %%ymm14, %%ymm12, %%ymm15\n vpaddw %%ymm15, %%ymm2, %%ymm2\n"
      "vpmaddubsw %%ymm14, %%ymm13, %%ymm14\n vpaddw %%ymm14, %%ymm8, %%ymm8\n"
      "vpbroadcastd \\q*24+12(%[x]), %%ymm14\n"
      "vpmaddubsw %%ymm14, %%ymm12, %%ymm15\n vpaddw %%ymm15, %%ymm3, %%ymm3\n"
      "vpmaddubsw %%ymm14, %%ymm13, %%ymm14\n vpaddw %%ymm14, %%ymm9, %%ymm9\n"
      "vpbroadcastd \\q*24+16(%[x]), %%ymm14\n"
      "vpmaddubsw %%ymm14, %%ymm12, %%ymm15\n vpaddw %%ymm15, %%ymm4, %%ymm4\n"
      "vpmaddubsw %%ymm14, %%ymm13, %%ymm14\n vpaddw %%ymm14, %%ymm10, %%ymm10\n"
      "vpbroadcastd \\q*24+20(%[x]), %%ymm14\n"
      "vpmaddubsw %%ymm14, %%ymm12, %%ymm15\n vpaddw %%ymm15, %%ymm5, %%ymm5\n"
      "vpmaddubsw %%ymm14, %%ymm13, %%ymm14\n vpaddw %%ymm14, %%ymm11, %%ymm11\n"
      ".endr\n"
      "vmovdqa (%[ones]), %%ymm15\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vpmaddwd %%ymm15, %%ymm\\i, %%ymm\\i\n"
      "vpaddd \\i*32(%[sums]), %%ymm\\i, %%ymm\\i\n"
      "vmovdqa %%ymm\\i, \\i*32(%[sums])\n"
      ".endr\n"
      :
      : [w] "r"(w), [x] "r"(x), [sums] "r"(sums), [ones] "r"(kOnes)
      : "memory", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11", "ymm12",
        "ymm13", "ymm14", "ymm15");
}

// The same for int16: w [8 quads][(k0, k2) | (k1, k3)][16 rows][2], x [8 quads][(k0, k2) | (k1, k3)][6 rows][2].
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
      : "memory", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11", "ymm12",
        "ymm13", "ymm14", "ymm15");
}

// 32 k of a tile to the form the blocks read.
template <int B>
void unpack_tile(const uint8_t* lines, uint8_t* out) {
  for (int h = 0; h < 2; ++h) {
    __m256i q[8];
    unpack<B>(lines + h * 32, q);
    for (int i = 0; i < 8; ++i) {
      if constexpr (B == 8) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * 128 + h * 32), _mm256_and_si256(q[i], _mm256_set1_epi16(255)));
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + i * 128 + 64 + h * 32), _mm256_srli_epi16(q[i], 8));
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
    const __m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))),
                                        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + 16)), 1);
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8), odd = _mm256_srai_epi16(v, 8);
    int16_t* e = out + q * 24;
    _mm_storeu_si128(reinterpret_cast<__m128i*>(e), _mm256_castsi256_si128(even));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(e + 8), _mm256_extracti128_si256(even, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(e + 12), _mm256_castsi256_si128(odd));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(e + 20), _mm256_extracti128_si256(odd, 1));
  }
}

template <int B>
constexpr int64_t kColBytes = B == 8 ? 32 : 16;  // of an unpacked tile, per k

// A panel times a tile over units [u0, u1); `unpacked` starts at the first of them.
template <int B>
void panel(const IntMatmul& job, const uint8_t* base, const uint8_t* unpacked, int64_t m, int64_t u0, int64_t u1, Panel& out) {
  constexpr int64_t R = kPanelRows;
  const Tiles& w = job.w;
  alignas(32) __m256i sums[2 * R];
  for (int64_t u = u0; u < u1; ++u) {
    const int64_t group = u / job.units_per_group, at = m * job.units + u * R;
    // Start from -zero * X. The sum fits int16 and the other half of -zero is 0, so madd is the 32-bit product.
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256i z = _mm256_and_si256(_mm256_sub_epi32(_mm256_setzero_si256(), zeros(w, base, group, h)), _mm256_set1_epi32(0xffff));
#pragma GCC unroll 6
      for (int64_t i = 0; i < R; ++i) sums[R * h + i] = _mm256_madd_epi16(z, _mm256_set1_epi32(job.sums[at + i]));
    }
    const int64_t begin = u * job.unit, end = smaller(begin + job.unit, w.padded_cols);
    const uint8_t* weights = unpacked + (begin - u0 * job.unit) * kColBytes<B>;
    const int8_t* x = job.x + m * w.padded_cols + begin * R;
    for (int64_t k = begin; k < end; k += kTileCols, weights += kTileCols * kColBytes<B>, x += kTileCols * R) {
      if constexpr (B == 8) {
        alignas(32) int16_t wide[kTileCols * R];
        widen(x, wide);
        block_i16(weights, wide, sums);
      } else {
        block_i8(weights, x, sums);
      }
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m256 s = scales(w, base, group, h);
#pragma GCC unroll 6
      for (int64_t i = 0; i < R; ++i) {
        const __m256 sa = _mm256_mul_ps(s, _mm256_set1_ps(job.a[at + i]));
        float* y = out.y[i] + 8 * h;
        _mm256_store_ps(y, _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[R * h + i]), sa, _mm256_load_ps(y)));
      }
    }
  }
}

template <int B>
void product(const IntMatmul& job) {
  constexpr int64_t R = kPanelRows;
  const Tiles& w = job.w;
  const int64_t step = kBlockCols / job.unit;
  alignas(64) uint8_t unpacked[kBlockCols * kColBytes<B>];
  Panel out[kBlockRows / R];
  for (int64_t m0 = 0; m0 < job.m; m0 += kBlockRows) {
    const int64_t m1 = smaller(m0 + kBlockRows, job.m);
    for (int64_t tile = job.tile_begin; tile < job.tile_end; ++tile) {
      const uint8_t* base = w.data + tile * w.tile_bytes;
      __builtin_memset(out, 0, sizeof(out));
      for (int64_t u0 = 0; u0 < job.units; u0 += step) {
        const int64_t u1 = smaller(u0 + step, job.units);
        const int64_t k0 = u0 * job.unit, k1 = smaller(u1 * job.unit, w.padded_cols);
        for (int64_t k = k0; k < k1; k += kTileCols)
          unpack_tile<B>(base + w.codes_offset + k / kTileCols * 64 * B, unpacked + (k - k0) * kColBytes<B>);
        for (int64_t m = m0; m < m1; m += R) panel<B>(job, base, unpacked, m, u0, u1, out[(m - m0) / R]);
      }
      for (int64_t m = m0; m < m1; ++m) {
        const float* y = out[(m - m0) / R].y[(m - m0) % R];
        store_tile_row(job.y + m * job.ldy + tile * kTileRows, _mm256_load_ps(y), _mm256_load_ps(y + 8), w.rows - tile * kTileRows);
      }
    }
  }
}

}  // namespace

void gemm_int(const IntMatmul& job) noexcept {
  switch (job.w.bits) {
    case 2: return product<2>(job);
    case 3: return product<3>(job);
    case 4: return product<4>(job);
    default: return product<8>(job);
  }
}

}  // namespace halftone::kernel::avx2
