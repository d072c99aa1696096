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

// A tile with fewer than 16 rows: some columns of the sums.
template <int C>
[[gnu::noinline]] void save_some(float* to, int64_t ldy, int64_t rows, int64_t columns) {
  alignas(64) float all[kR][kTileRows];
  tile_store<C>(all, 64);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < columns; ++i) to[r * ldy + i] = all[r][i];
}

// P panels of 16 rows (the last may be short: its registers are configured so) by T tiles at a
// time; sum C is that of panel C / 2 and tile C % 2. Sums of a block leave the tile registers when
// the products of the next have been started, because a product takes 52 cycles.
template <int P, int T>
class Multiplier {
 public:
  // `rows` of each block: 16 P, or fewer of a single one.
  Multiplier(const Bf16Matmul& job, int64_t rows) : job_(job), rows_(rows) {}

  void block(int64_t m, int64_t tile) {
    const uint16_t* x[2] = {job_.x + m * job_.ldx, job_.x + (m + (P - 1) * kR) * job_.ldx};
    const uint16_t* w[2] = {job_.w.data + tile * job_.w.stride,
                            job_.w.data + (tile + T - 1) * job_.w.stride};
    products<true>(x, w);
    for (int64_t k = kBf16Step; k < job_.k; k += kBf16Step) {
      for (auto& panel : x) panel += kBf16Step;
      for (auto& lines : w) lines += kBf16Step * kTileRows;
      products<false>(x, w);
    }
    m_ = m;
    tile_ = tile;
  }

  void finish() {
    save<0>();
    save<1>();
    save<2>();
    save<3>();
  }

 private:
  template <int C>
  void save() {
    if constexpr (C / 2 < P && C % 2 < T) {
      if (m_ < 0) return;
      const int64_t n = (tile_ + C % 2) * kTileRows, columns = job_.w.rows - n;
      float* to = job_.y + (m_ + C / 2 * kR) * job_.ldy + n;
      if (columns >= kTileRows)
        tile_store<C>(to, job_.ldy * 4);
      else
        save_some<C>(to, job_.ldy, C / 2 < P - 1 ? kR : rows_ - (P - 1) * kR, columns);
    }
  }

  template <int C, bool First>
  void product() {
    if constexpr (First) {
      save<C>();
      tile_zero<C>();
    }
    multiply_add_bf16<C, 4 + C / 2, 6 + C % 2>();
  }

  template <bool First>
  void products(const uint16_t* const* x, const uint16_t* const* w) {
    tile_load<4>(x[0], job_.ldx * 2);
    tile_load<6>(w[0], 64);
    product<0, First>();
    if constexpr (T == 2) {
      tile_load<7>(w[1], 64);
      product<1, First>();
    }
    if constexpr (P == 2) {
      tile_load<5>(x[1], job_.ldx * 2);
      product<2, First>();
      if constexpr (T == 2) product<3, First>();
    }
  }

  const Bf16Matmul job_;
  const int64_t rows_;
  int64_t m_ = -1, tile_ = 0;  // of sums not saved
};

template <int P, int T>
void blocks(const Bf16Matmul& job, int64_t m0, int64_t m1, int64_t tile, int64_t tile_end) {
  constexpr int64_t kRows = kR * P;
  Multiplier<P, T> multiplier(job, m1 - m0 < kRows ? m1 - m0 : kRows);
  for (; tile < tile_end; tile += T)
    for (int64_t m = m0; m < m1; m += kRows) multiplier.block(m, tile);
  multiplier.finish();
}

// Rows [m0, m1) in panels of 16 P rows, all full or one that is not.
template <int P>
void panels(const Bf16Matmul& job, int64_t m0, int64_t m1) {
  if (job.first || job.m > 2 * kR) {
    const int64_t last = (m1 - m0 < kR * P ? m1 - m0 : kR * P) - (P - 1) * kR;
    TileConfig config;
    for (int t = 0; t < 8; ++t) {
      const bool first = t < 2 || t == 4, w = t >= 6;
      config.rows[t] = static_cast<uint8_t>(w || (first && P == 2) ? kR : last);
      config.row_bytes[t] = 64;
    }
    configure(config);
  }
  const int64_t pairs = job.tile_begin + (job.tile_end - job.tile_begin) / 2 * 2;
  if (pairs > job.tile_begin) blocks<P, 2>(job, m0, m1, job.tile_begin, pairs);
  if (pairs < job.tile_end) blocks<P, 1>(job, m0, m1, pairs, job.tile_end);
}

}  // namespace

void matmul_bf16(const Bf16Matmul& job) noexcept {
  const int64_t whole = job.m / (2 * kR) * (2 * kR);
  if (whole > 0) panels<2>(job, 0, whole);
  if (job.m - whole > kR)
    panels<2>(job, whole, job.m);
  else if (job.m > whole)
    panels<1>(job, whole, job.m);
  if (job.last) release();
}

}  // namespace halftone::kernel::amx
