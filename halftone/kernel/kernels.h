// What one instruction set offers, as a table of plain functions over raw memory; engines use
// tiles.h, activations.h, matmul.h and vector_ops.h, which check shapes once and then call through
// this table.
//
// Included by the per-ISA files, so it holds only <cstdint> and trivial structs: nothing here may
// emit code that another instruction set's flags could infect. All entries are noexcept and
// unchecked, keep no state and allocate nothing.
//
// Arithmetic is fixed to the last bit: every entry gives the same bits on every instruction set,
// for every split of the tiles and for every M (docs in matmul.h). Tests compare with ==.
#pragma once

#include <cstdint>

namespace halftone::kernel {

inline constexpr int64_t kTileRows = 16;  // output rows of a tile
inline constexpr int64_t kTileCols = 32;  // codes: K is padded to this with zero activations
// k of one integer sum (127 * 256 fits int16, which zero-point products use)
inline constexpr int64_t kMaxUnit = 256;
// up to this M activations stay rows (GEMV), above they are panels (GEMM)
inline constexpr int64_t kRowsLimit = 8;
inline constexpr int64_t kBf16Step = 32;  // k of one step of a bf16 product: K is padded to this

enum class Store : int32_t { codes, f32, f16, bf16 };

// Weights [N, K] in row tiles of 16 (layout: tiles.h).
struct Tiles {
  const uint8_t* data;    // 64-byte aligned
  int64_t tile_bytes;     // multiple of 64
  int64_t rows, cols;     // N, K as the caller knows them
  int64_t padded_cols;    // codes: K up to a multiple of 32; dense: K
  int64_t group, groups;  // k per scale; groups = ceil(K / group)
  // Two-level scales: of u8 [ceil(K / sub)][16] in the tile, u = 0..255 for each `sub` k of a
  // group; the scale of such k is scale * step * u. Or -1: one level.
  int64_t sub_offset = -1, sub;
  int64_t zeros_offset = -1;  // of u8 [groups][16] in the tile, or -1: `zero` everywhere
  int64_t codes_offset;
  Store store;
  int32_t bits;   // 1 to 8; 0 if dense
  int32_t pairs;  // 2-bit codes lie in pairs, as table products read them
  int32_t zero;
  int32_t scales_f32;  // scales are f32, else f16
  // Integer products multiply scales by this: 1, or 1/256 with two levels, or a code book's step.
  float step = 1;
  // Code book (nf4, fp4): 4-bit codes stand for value[code]; integer products take
  // step * (level[code] - zero), which is close to it.
  int32_t book;
  uint8_t level[16];
  float value[16];
};

// y[m][n] for the rows of tiles [tile_begin, tile_end), with R = int_rows of the table.
//   x           gemv: [M][padded_cols]; gemm, with D = depth: [ceil(M / R)][padded_cols / D][R][D],
//               each + panel_bias of the table; or int16, see wide_panels
//   a, sums     per unit: [M][units], or [ceil(M / R)][units][R]; padding rows are zero
// Two-level weights: unit is 32, a is the same for all units of a group, and codes less zero times
// activations fit int16 over a unit.
struct IntMatmul {
  Tiles w;
  const int8_t* x;
  const float* a;  // activation scale of a unit
  // sums of x over a unit, two int16: low half those with k % 4 < 2, high half the others
  const int32_t* sums;
  int64_t m, unit, units, units_per_group;
  int64_t depth;  // 4, or for tile registers 64, 32 where unit or padded_cols is no multiple of 64
  float* y;       // row-major, row stride ldy, no padding columns touched
  int64_t ldy;
  int64_t tile_begin, tile_end;
};

// Products by tables take an IntMatmul too: weights in pairs, any m, rows of
//   x           u8 [M][padded_cols / 2][16], what a pair of k adds for each pair of codes, + 128
//   sums        whole int32: of X (matmul.h) over a unit

// The same for floats, with R = float_rows of the table.
//   x           m <= kRowsLimit: f32 [M][padded_cols]; above: [ceil(M / R)][padded_cols][R]
struct FloatMatmul {
  Tiles w;
  const float* x;
  int64_t m, unit, units, units_per_group;  // dense: unit 256, one group
  float* y;
  int64_t ldy;
  int64_t tile_begin, tile_end;
};

// Weights [N, K] in bf16, in row tiles of 16: a tile is [K / 2][16 rows][2 k], pairs of k of 16
// rows to a line of 64 bytes, as the tile registers of AMX and 16 lanes alike read them.
struct Bf16Tiles {
  const uint16_t* data;  // 64-byte aligned; every value counts, also in the padding of K
  int64_t stride;        // from tile to tile, a multiple of 32
  int64_t rows;          // N
};

// y[m][n] for the rows of tiles [tile_begin, tile_end), any m. x and w are bf16, both padded with
// zeros to whole steps, and hold nothing but zeros and |values| >= 2^-56 (VectorOps::to_bf16 sees
// to that): then no product, no sum and no rounding of one is subnormal, and it does not matter
// that AMX takes such for zero.
struct Bf16Matmul {
  Bf16Tiles w;
  const uint16_t* x;  // [M][k], row stride ldx; fastest where rows begin at 64 bytes
  int64_t ldx, m, k;  // k % 32 == 0
  float* y;           // row-major, row stride ldy, no padding columns touched
  int64_t ldy;
  int64_t tile_begin, tile_end;
  // Setting up the tile registers of AMX takes 44 ns. Several products of the same m <= 32 may
  // share that: all but the first say so, all but the last leave it to those that follow. Between
  // them the thread may call VectorOps, but no other product.
  bool first = true, last = true;
};

// Rows [row_begin, row_end) of x f32 [M][cols] (row stride ldx) -> int8 per block of `block` k (a
// multiple of unit). A block with a NaN or an infinity gets codes 0 and scale NaN, so that its row
// of the product is NaN. `rows_per_panel` 1: plain rows. Otherwise row_begin is a multiple of it,
// and rows from m up to a whole panel become zero.
struct Quantize {
  const float* x;
  int64_t ldx, m, cols, padded_cols;
  int64_t unit, units, block;
  float fixed;  // a scale for all blocks, beyond which values are cut off; 0: from each block
  int64_t rows_per_panel, depth;
  bool wide;  // int16 panels, where the table has wide_panels
  int8_t* codes;
  float* a;
  int32_t* sums;
  int64_t row_begin, row_end;
};

// The small operations around products; contracts in vector_ops.h. n counts floats; pointers need
// no alignment. Output may be the input where both are f32.
struct VectorOps {
  void (*rms_norm)(const float* x, const float* weight, float epsilon, int64_t n,
                   float* y) noexcept;
  void (*layer_norm)(const float* x, const float* weight, const float* bias, float epsilon,
                     int64_t n, float* y) noexcept;
  float (*exp_sum)(const float* x, int64_t n, float scale, float max, float* y) noexcept;
  float (*max)(const float* x, int64_t n) noexcept;
  void (*silu)(const float* x, int64_t n, float* y) noexcept;
  void (*gelu_erf)(const float* x, int64_t n, float* y) noexcept;
  void (*gelu_tanh)(const float* x, int64_t n, float* y) noexcept;
  void (*tanh)(const float* x, int64_t n, float* y) noexcept;
  void (*rope_half)(const float* x, const float* cosine, const float* sine, int64_t half,
                    float* y) noexcept;
  void (*add)(const float* a, const float* b, int64_t n, float* y) noexcept;
  void (*multiply)(const float* a, const float* b, int64_t n, float* y) noexcept;
  void (*scale)(const float* x, float a, int64_t n, float* y) noexcept;
  void (*axpy)(float a, const float* x, int64_t n, float* y) noexcept;
  void (*mix)(float a, const float* x, float b, int64_t n, float* y) noexcept;
  void (*to_f16)(const float* x, int64_t n, uint16_t* y) noexcept;
  void (*to_bf16)(const float* x, float a, int64_t n, uint16_t* y) noexcept;
  uint64_t (*rows_above)(const float* x, int64_t ldx, int64_t rows, int64_t n,
                         const float* limit) noexcept;
  void (*lane_max)(const float* x, int64_t ldx, int64_t rows, int64_t n, float* lanes) noexcept;
  void (*exp2_bf16)(const float* x, int64_t ldx, int64_t rows, int64_t n, const float* max,
                    uint16_t* y, int64_t ldy, float* lanes) noexcept;
  void (*lanes_largest)(const float* lanes, int64_t rows, float* y) noexcept;
  void (*lanes_sum)(const float* lanes, int64_t rows, float* y) noexcept;
};

struct Kernels {
  const char* name;
  int64_t int_rows, float_rows;  // R of the two panel layouts
  int64_t int_depth;             // the largest depth of IntMatmul
  uint8_t panel_bias;            // 128: int8 panels hold x + 128, unsigned; 0: x
  // Panels for codes of 5 to 8 bits and books (wide_codes) hold x as int16:
  // [ceil(M / R)][padded_cols / 4][(k0, k2) | (k1, k3)][R][2]
  bool wide_panels;

  void (*quantize)(const Quantize&) noexcept;
  void (*gemv_int)(const IntMatmul&) noexcept;  // rows, m <= kRowsLimit
  void (*gemm_int)(const IntMatmul&) noexcept;  // panels
  // Quantize::codes as tables, [m][padded_cols / 2][16] u8; block is the unit, `fixed` is not taken
  void (*tabulate)(const Quantize&) noexcept;
  void (*matmul_pairs)(const IntMatmul&) noexcept;  // by tables, any m
  void (*gemv_float)(const FloatMatmul&) noexcept;  // codes ("exact" mode), f32, f16, bf16
  void (*gemm_float)(const FloatMatmul&) noexcept;
  void (*matmul_bf16)(const Bf16Matmul&) noexcept;

  const VectorOps* vector;
};

const Kernels& kernels_scalar();
const Kernels& kernels_avx2();
const Kernels& kernels_avx512();
const Kernels& kernels_amx();
const Kernels& kernels_amx_int8();  // without AMX-BF16
const Kernels& kernels_neon();
// The AVX-512 and AMX sources compiled through SIMDe for machines without them; linked into test
// programs only.
const Kernels& kernels_avx512_emulated();
const Kernels& kernels_amx_emulated();

}  // namespace halftone::kernel
