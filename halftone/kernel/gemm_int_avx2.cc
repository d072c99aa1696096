// Panels of 6 rows of int8 activations times low-bit tiles (prefill): a 6 x 16 block of sums in
// registers.
//
// A tile is unpacked once per K block, zero-points taken off: to signed bytes c (b <= 4) or int16
// (wider codes and books), so the inner loop is the same for every b <= 4. There the activations
// are the unsigned side, x + 128, and a sum over 32 k starts from -128 times the sum of c, so that
// it ends as the sum of x * c: at most 16 * 127 * 16 in an int16 lane, whatever wraps on the way;
// where no |c| is above 8 (symmetric codes) the sum runs over 64 k.
// Nothing is left to correct, and zero-points cost nothing. 32 k are 2 instructions per 32
// multiply-adds. All 16 registers are used: 12 sums, 2 weights, a broadcast, a product. GCC 12
// spills that from intrinsics, hence the assembly.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/avx2_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::avx2 {
namespace {

constexpr int64_t kBlockCols = 512;  // K at a time: 9 KiB of unpacked weights (16 for b = 8)
constexpr int64_t kBlockRows = 192;  // M at a time: 12 KiB of sums, activations stay in L2

// One panel's share of the running sums.
struct alignas(32) Panel {
  float y[kPanelRows][kTileRows];
};

// One quad: both halves of the tile times six rows, on top of what the sums hold. \q is the quad.
#define HALFTONE_ADD_QUAD                                        \
  "vmovdqa 64+\\q*64(%[w]), %[w0]\n"                             \
  "vmovdqa 96+\\q*64(%[w]), %[w1]\n"                             \
  "vpbroadcastd \\q*24+0(%[x]), %[b]\n"                          \
  "vpmaddubsw %[w0], %[b], %[p]\n vpaddw %[p], %[s0], %[s0]\n"   \
  "vpmaddubsw %[w1], %[b], %[b]\n vpaddw %[b], %[s6], %[s6]\n"   \
  "vpbroadcastd \\q*24+4(%[x]), %[b]\n"                          \
  "vpmaddubsw %[w0], %[b], %[p]\n vpaddw %[p], %[s1], %[s1]\n"   \
  "vpmaddubsw %[w1], %[b], %[b]\n vpaddw %[b], %[s7], %[s7]\n"   \
  "vpbroadcastd \\q*24+8(%[x]), %[b]\n"                          \
  "vpmaddubsw %[w0], %[b], %[p]\n vpaddw %[p], %[s2], %[s2]\n"   \
  "vpmaddubsw %[w1], %[b], %[b]\n vpaddw %[b], %[s8], %[s8]\n"   \
  "vpbroadcastd \\q*24+12(%[x]), %[b]\n"                         \
  "vpmaddubsw %[w0], %[b], %[p]\n vpaddw %[p], %[s3], %[s3]\n"   \
  "vpmaddubsw %[w1], %[b], %[b]\n vpaddw %[b], %[s9], %[s9]\n"   \
  "vpbroadcastd \\q*24+16(%[x]), %[b]\n"                         \
  "vpmaddubsw %[w0], %[b], %[p]\n vpaddw %[p], %[s4], %[s4]\n"   \
  "vpmaddubsw %[w1], %[b], %[b]\n vpaddw %[b], %[s10], %[s10]\n" \
  "vpbroadcastd \\q*24+20(%[x]), %[b]\n"                         \
  "vpmaddubsw %[w0], %[b], %[p]\n vpaddw %[p], %[s5], %[s5]\n"   \
  "vpmaddubsw %[w1], %[b], %[b]\n vpaddw %[b], %[s11], %[s11]\n"

// 32 k of a tile as the block reads them: what the int16 sums start from, then codes.
struct Chunk {
  int16_t start[2][16];
  int8_t quads[8][kTileRows][4];
};

// int16 sums of 32 k in h[6 * half + row]; x [8 quads][6 rows][4]. `begin` starts them, `go_on`
// adds to them (the first chunk's start then holds that of both).
inline void begin(const Chunk& w, const int8_t* x, __m256i (&h)[12]) {
  __m256i w0, w1, b, p;
  asm("vmovdqa 64(%[w]), %[w0]\n"
      "vmovdqa 96(%[w]), %[w1]\n"
#define HALFTONE_FIRST_QUAD(at, low, high)                                    \
  "vpbroadcastd " #at                                                         \
  "(%[x]), %[b]\n"                                                            \
  "vpmaddubsw %[w0], %[b], %[" #low "]\n vpaddw (%[w]), %[" #low "], %[" #low \
  "]\n"                                                                       \
  "vpmaddubsw %[w1], %[b], %[" #high "]\n vpaddw 32(%[w]), %[" #high "], %[" #high "]\n"
      HALFTONE_FIRST_QUAD(0, s0, s6) HALFTONE_FIRST_QUAD(4, s1, s7) HALFTONE_FIRST_QUAD(8, s2, s8)
          HALFTONE_FIRST_QUAD(12, s3, s9) HALFTONE_FIRST_QUAD(16, s4, s10)
              HALFTONE_FIRST_QUAD(20, s5, s11)
#undef HALFTONE_FIRST_QUAD
                  ".irp q,1,2,3,4,5,6,7\n" HALFTONE_ADD_QUAD ".endr\n"
      : [s0] "=&x"(h[0]), [s1] "=&x"(h[1]), [s2] "=&x"(h[2]), [s3] "=&x"(h[3]), [s4] "=&x"(h[4]),
        [s5] "=&x"(h[5]), [s6] "=&x"(h[6]), [s7] "=&x"(h[7]), [s8] "=&x"(h[8]), [s9] "=&x"(h[9]),
        [s10] "=&x"(h[10]), [s11] "=&x"(h[11]), [w0] "=&x"(w0), [w1] "=&x"(w1), [b] "=&x"(b),
        [p] "=&x"(p)
      : [w] "r"(&w), [x] "r"(x)
      : "memory");
}

inline void go_on(const Chunk& w, const int8_t* x, __m256i (&h)[12]) {
  __m256i w0, w1, b, p;
  asm(".irp q,0,1,2,3,4,5,6,7\n" HALFTONE_ADD_QUAD ".endr\n"
      : [s0] "+x"(h[0]), [s1] "+x"(h[1]), [s2] "+x"(h[2]), [s3] "+x"(h[3]), [s4] "+x"(h[4]),
        [s5] "+x"(h[5]), [s6] "+x"(h[6]), [s7] "+x"(h[7]), [s8] "+x"(h[8]), [s9] "+x"(h[9]),
        [s10] "+x"(h[10]), [s11] "+x"(h[11]), [w0] "=&x"(w0), [w1] "=&x"(w1), [b] "=&x"(b),
        [p] "=&x"(p)
      : [w] "r"(&w), [x] "r"(x)
      : "memory");
}
#undef HALFTONE_ADD_QUAD

// int32 sums of 32 k of int16 pairs, added to those in d: w [8 quads][(k0, k2) | (k1, k3)][16
// rows][2], x [8 quads][(k0, k2) | (k1, k3)][6 rows][2].
inline void add_wide(const int16_t* w, const int16_t* x, __m256i (&d)[12]) {
  __m256i w0, w1, b, p;
#define HALFTONE_ROW(at, low, high)                                \
  "vpbroadcastd \\q*24+" #at                                       \
  "(%[x]), %[b]\n"                                                 \
  "vpmaddwd %[w0], %[b], %[p]\n vpaddd %[p], %[" #low "], %[" #low \
  "]\n"                                                            \
  "vpmaddwd %[w1], %[b], %[b]\n vpaddd %[b], %[" #high "], %[" #high "]\n"
  asm(".irp q,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n"
      "vmovdqa \\q*64(%[w]), %[w0]\n"
      "vmovdqa 32+\\q*64(%[w]), %[w1]\n" HALFTONE_ROW(0, s0, s6) HALFTONE_ROW(4, s1, s7)
          HALFTONE_ROW(8, s2, s8) HALFTONE_ROW(12, s3, s9) HALFTONE_ROW(16, s4, s10)
              HALFTONE_ROW(20, s5, s11) ".endr\n"
      : [s0] "+x"(d[0]), [s1] "+x"(d[1]), [s2] "+x"(d[2]), [s3] "+x"(d[3]), [s4] "+x"(d[4]),
        [s5] "+x"(d[5]), [s6] "+x"(d[6]), [s7] "+x"(d[7]), [s8] "+x"(d[8]), [s9] "+x"(d[9]),
        [s10] "+x"(d[10]), [s11] "+x"(d[11]), [w0] "=&x"(w0), [w1] "=&x"(w1), [b] "=&x"(b),
        [p] "=&x"(p)
      : [w] "r"(w), [x] "r"(x)
      : "memory");
#undef HALFTONE_ROW
}

// 32 k from k0 on of a tile to the forms the blocks read: bytes, whose start goes to that of the
// chunk they are summed with, if any; or [8 quads][(k0, k2) | (k1, k3)][16 rows][2] int16.
template <int B>
void unpack_tile(const Tiles& w, const uint8_t* base, int64_t k0, Chunk& out, Chunk* summed) {
  const __m256i unsigned128 = _mm256_set1_epi8(static_cast<char>(128));
  for (int h = 0; h < 2; ++h) {
    __m256i q[8], sum = _mm256_setzero_si256();
    unpack<B>(w, base + w.codes_offset + k0 / kTileCols * 64 * kBits<B> + h * 32, q);
    const __m256i zero =
        _mm256_mullo_epi32(zeros(w, base, k0 / w.group, h), _mm256_set1_epi32(0x01010101));
    for (int i = 0; i < 8; ++i) {
      const __m256i c = _mm256_sub_epi8(q[i], zero);
      sum = _mm256_sub_epi16(sum, _mm256_maddubs_epi16(unsigned128, c));
      _mm256_store_si256(reinterpret_cast<__m256i*>(&out.quads[i][h * 8]), c);
    }
    if (summed != nullptr) sum = _mm256_add_epi16(sum, load(summed->start[h]));
    _mm256_store_si256(reinterpret_cast<__m256i*>((summed != nullptr ? summed : &out)->start[h]),
                       sum);
  }
}

constexpr int64_t kWideBytes = kTileCols * kTileRows * 2;  // of 32 k

template <int B>
void unpack_wide(const Tiles& w, const uint8_t* base, int64_t k0, int16_t* out) {
  for (int h = 0; h < 2; ++h) {
    __m256i q[8];
    unpack<B>(w, base + w.codes_offset + k0 / kTileCols * 64 * kBits<B> + h * 32, q);
    const __m256i zero = zero_pairs(w, base, k0 / w.group, h);
    for (int i = 0; i < 8; ++i) {
      auto* to = reinterpret_cast<__m256i*>(out + i * 64 + h * 16);
      _mm256_store_si256(to,
                         _mm256_sub_epi16(_mm256_and_si256(q[i], _mm256_set1_epi16(255)), zero));
      _mm256_store_si256(to + 2, _mm256_sub_epi16(_mm256_srli_epi16(q[i], 8), zero));
    }
  }
}

// A K block of a tile, made once for all rows.
struct Room {
  union {
    alignas(64) Chunk chunks[kBlockCols / kTileCols];
    int16_t wide[kBlockCols / kTileCols][kWideBytes / 2];
  };
  // by unit: scales, and times what sums of 32 k are widened (two-level scales)
  __m256 scale[kBlockCols / kTileCols][2];
  __m256i sub[kBlockCols / kTileCols][2];
};

// y = fma(float(D), scale * a, y) for the row and half that are number i of twelve.
inline void finish(int i, __m256i d, const __m256* scale, const float* a, Panel& out) {
  float* y = out.y[i % kPanelRows] + i / kPanelRows * 8;
  const __m256 sa = _mm256_mul_ps(scale[i / kPanelRows], _mm256_set1_ps(a[i % kPanelRows]));
  _mm256_store_ps(y, _mm256_fmadd_ps(_mm256_cvtepi32_ps(d), sa, _mm256_load_ps(y)));
}

// A panel times a K block whose sums run over `each` chunks of 32 k, the last ones over what is
// left; `a` moves by `a_step` from sum to sum, `scale` by `scale_step`. Two: each chunk has a
// sub-scale, `times` [chunks][2]; else `times` are ones. Twice: sums of two chunks fit int16 (|c| of
// at most 8).
template <bool Two, bool Twice>
[[gnu::noinline]] void run(const Chunk* w, const int8_t* x, int64_t chunks, int64_t each,
                           const __m256i* times, const __m256* scale, int64_t scale_step,
                           const float* a, int64_t a_step, Panel& out) {
  constexpr int kSums = 2 * kPanelRows;
  constexpr int64_t kStep = kTileCols * kPanelRows;
  alignas(32) __m256i sums[kSums] = {};
  for (int64_t left = each; chunks > 0; left = each, scale += scale_step, a += a_step) {
    left = smaller(left, chunks);
    chunks -= left;
    for (bool first = true; left > 0; first = false) {
      __m256i h[kSums];
      begin(*w++, x, h);
      x += kStep;
      --left;
      if (Twice && left > 0) {
        go_on(*w++, x, h);
        x += kStep;
        --left;
      }
      if (left == 0 && first) {
#pragma GCC unroll 12
        for (int i = 0; i < kSums; ++i)
          finish(i, _mm256_madd_epi16(h[i], times[i / kPanelRows]), scale, a, out);
      } else if (left == 0) {
#pragma GCC unroll 12
        for (int i = 0; i < kSums; ++i)
          finish(i, _mm256_add_epi32(_mm256_madd_epi16(h[i], times[i / kPanelRows]), sums[i]),
                 scale, a, out);
      } else if (first) {
#pragma GCC unroll 12
        for (int i = 0; i < kSums; ++i) sums[i] = _mm256_madd_epi16(h[i], times[i / kPanelRows]);
      } else {
#pragma GCC unroll 12
        for (int i = 0; i < kSums; ++i)
          sums[i] = _mm256_add_epi32(_mm256_madd_epi16(h[i], times[i / kPanelRows]), sums[i]);
      }
      if (Two) times += 2;
    }
  }
}

// May two chunks be summed in int16?
template <int B>
bool twice(const Tiles& w) {
  return w.sub_offset < 0 && (B <= 3 || (w.zeros_offset < 0 && w.zero == 8));
}

// The panel of rows from m times the block in `room` over units [u0, u1).
template <int B>
void panel(const IntMatmul& job, const Room& room, int64_t m, int64_t u0, int64_t u1, Panel& out) {
  const Tiles& w = job.w;
  const int64_t k0 = u0 * job.unit,
                chunks = (smaller(u1 * job.unit, w.padded_cols) - k0) / kTileCols,
                unit = job.unit / kTileCols, per = job.units_per_group;
  const int8_t* x = job.x + m * w.padded_cols + k0 * kPanelRows;
  const float* a = job.a + m * job.units + u0 * kPanelRows;
  if (w.sub_offset >= 0)
    run<true, false>(room.chunks, x, chunks, unit * per, room.sub[0], room.scale[0], 2 * per, a,
                     per * kPanelRows, out);
  else
    (twice<B>(w) ? run<false, true> : run<false, false>)(room.chunks, x, chunks, unit, room.sub[0],
                                                         room.scale[0], 2, a, kPanelRows, out);
}

// The same for int16; x [chunks][32 k of a panel].
[[gnu::noinline]] void run_wide(const int16_t* w, const int16_t* x, int64_t chunks, int64_t each,
                                const __m256* scale, const float* a, Panel& out) {
  constexpr int kSums = 2 * kPanelRows;
  while (chunks > 0) {
    int64_t left = smaller(each, chunks);
    chunks -= left;
    __m256i d[kSums];
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) d[i] = _mm256_setzero_si256();
    do {
      add_wide(w, x, d);
      w += kTileCols * kTileRows;
      x += kTileCols * kPanelRows;
    } while (--left > 0);
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) finish(i, d[i], scale, a, out);
    scale += 2;
    a += kPanelRows;
  }
}

void wide_panel(const IntMatmul& job, const Room& room, int64_t m, int64_t u0, int64_t u1,
                Panel& out) {
  const Tiles& w = job.w;
  const int64_t k0 = u0 * job.unit,
                chunks = (smaller(u1 * job.unit, w.padded_cols) - k0) / kTileCols;
  run_wide(room.wide[0],
           reinterpret_cast<const int16_t*>(job.x) + m * w.padded_cols + k0 * kPanelRows, chunks,
           job.unit / kTileCols, room.scale[0], job.a + m * job.units + u0 * kPanelRows, out);
}

#include "halftone/kernel/gemm_body.h"

template <int B>
void product(const IntMatmul& job) {
  Room room;
  by_blocks(
      job,
      [&](const uint8_t* base, int64_t k0, int64_t k1) {
        const Tiles& w = job.w;
        for (int64_t k = k0; k < k1; k += job.unit)
          for (int h = 0; h < 2; ++h)
            room.scale[(k - k0) / job.unit][h] =
                scales(w, base, k / job.unit / job.units_per_group, h);
        for (int64_t k = k0, c = 0; k < k1; k += kTileCols, ++c) {
          if constexpr (B >= 5)
            unpack_wide<B>(w, base, k, room.wide[c]);
          else
            unpack_tile<B>(
                w, base, k, room.chunks[c],
                twice<B>(w) && k % job.unit / kTileCols % 2 != 0 ? &room.chunks[c - 1] : nullptr);
          for (int h = 0; h < 2; ++h)
            room.sub[c][h] =
                w.sub_offset >= 0 ? sub_pairs(w, base, k / w.sub, h) : _mm256_set1_epi16(1);
        }
      },
      [&](const uint8_t*, int64_t m, int64_t u0, int64_t u1, Panel& out) {
        if constexpr (B >= 5)
          wide_panel(job, room, m, u0, u1, out);
        else
          panel<B>(job, room, m, u0, u1, out);
      });
}

}  // namespace

void gemm_int(const IntMatmul& job) noexcept {
  by_kind(job.w, [&](auto b) { product<b.kValue>(job); });
}

}  // namespace halftone::kernel::avx2
