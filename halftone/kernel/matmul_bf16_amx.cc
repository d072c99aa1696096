// bf16 rows times bf16 tiles with AMX: 32 rows x 2 tiles at a time are four 16 x 16 sums in tile
// registers, which are stored where they belong. Rows and tiles are read as they lie.
//
// tdpbf16ps (Intel SDM) is, for each sum and 32 k, one chain of fused multiply-adds over the even k
// and one over the odd k, each from zero and rounded to nearest even, the two added, and that added
// to the sum. It takes subnormal numbers for zero, in and out; operands as Bf16Matmul demands them
// never make one.
#include <immintrin.h>

#include <cstdint>

#include "halftone/kernel/amx_tiles.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/turns.h"

namespace halftone::kernel::amx {
namespace {

constexpr int64_t kR = kTileRows;

// P panels of 16 rows from m (the last may be short: its registers are configured so) by T tiles.
template <int P, int T>
void block(const Bf16Matmul& job, int64_t m, int64_t rows, int64_t tile) {
  const int64_t steps = job.k / kBf16Step;
  const uint16_t *x0 = job.x + m * job.ldx, *x1 = x0 + (P == 2 ? kR * job.ldx : 0);
  const uint16_t *w0 = job.w.data + tile * job.w.stride, *w1 = w0 + (T == 2 ? job.w.stride : 0);
  tile_zero<0>();
  if constexpr (T == 2) tile_zero<1>();
  if constexpr (P == 2) tile_zero<2>();
  if constexpr (P == 2 && T == 2) tile_zero<3>();
  for (int64_t s = 0; s < steps; ++s) {
    tile_load<4>(x0, job.ldx * 2);
    tile_load<6>(w0, 64);
    multiply_add_bf16<0, 4, 6>();
    if constexpr (T == 2) {
      tile_load<7>(w1, 64);
      multiply_add_bf16<1, 4, 7>();
    }
    if constexpr (P == 2) {
      tile_load<5>(x1, job.ldx * 2);
      multiply_add_bf16<2, 5, 6>();
      if constexpr (T == 2) multiply_add_bf16<3, 5, 7>();
    }
    x0 += kBf16Step;
    x1 += kBf16Step;
    w0 += kBf16Step * kTileRows;
    w1 += kBf16Step * kTileRows;
  }
  const auto save = [&](auto index) {
    constexpr int C = decltype(index)::kValue;
    const int64_t n = (tile + C % 2) * kTileRows, columns = job.w.rows - n;
    float* to = job.y + (m + C / 2 * kR) * job.ldy + n;
    if (columns >= kTileRows) return tile_store<C>(to, job.ldy * 4);
    alignas(64) float all[kR][kTileRows];
    tile_store<C>(all, 64);
    const int64_t count = C / 2 < P - 1 ? kR : rows - (P - 1) * kR;
    for (int64_t r = 0; r < count; ++r)
      for (int64_t i = 0; i < columns; ++i) to[r * job.ldy + i] = all[r][i];
  };
  save(Index<0>());
  if constexpr (T == 2) save(Index<1>());
  if constexpr (P == 2) save(Index<2>());
  if constexpr (P == 2 && T == 2) save(Index<3>());
}

// Rows [begin, end) in panels of 16 P rows, all full or one that is not.
template <int P>
void panels(const Bf16Matmul& job, int64_t begin, int64_t end) {
  const int64_t all = kR * P, rows = end - begin < all ? end - begin : all;
  TileConfig config;
  for (int t = 0; t < 8; ++t) {
    const bool first = t < 2 || t == 4, w = t >= 6;
    config.rows[t] = static_cast<uint8_t>(w || (first && P == 2) ? kR : rows - (P - 1) * kR);
    config.row_bytes[t] = 64;
  }
  configure(config);
  int64_t tile = job.tile_begin;
  for (; tile + 2 <= job.tile_end; tile += 2)
    for (int64_t m = begin; m < end; m += all) block<P, 2>(job, m, rows, tile);
  if (tile < job.tile_end)
    for (int64_t m = begin; m < end; m += all) block<P, 1>(job, m, rows, tile);
}

}  // namespace

void matmul_bf16(const Bf16Matmul& job) noexcept {
  const int64_t whole = job.m / (2 * kR) * (2 * kR);
  if (whole > 0) panels<2>(job, 0, whole);
  if (job.m - whole > kR)
    panels<2>(job, whole, job.m);
  else if (job.m > whole)
    panels<1>(job, whole, job.m);
  release();
}

}  // namespace halftone::kernel::amx
