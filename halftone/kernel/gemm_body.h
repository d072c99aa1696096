// How a GEMM goes through blocks where one tile at a time fills the registers (AVX2, NEON). A
// gemm_*_<isa>.cc file defines, in its anonymous namespace, kBlockCols and kBlockRows, Panel with
// y[kPanelRows][kTileRows], and store_tile_row(y, from, columns); it includes this there, so every
// copy is private to the flags it was compiled with.

// make(base, k0, k1): columns of the tile at `base`, as add() reads them.
// add(base, m, u0, u1, out): the panel of rows from m over units [u0, u1).
template <class Job, class Make, class Add>
inline __attribute__((always_inline)) void by_blocks(const Job& job, const Make& make,
                                                     const Add& add) {
  constexpr int64_t R = kPanelRows;
  const Tiles& w = job.w;
  // Units of a K block: whole groups where sums run over them (two-level scales).
  const int64_t span = w.sub_offset < 0 ? 1 : job.units_per_group,
                step = kBlockCols / job.unit / span * span;
  Panel out[kBlockRows / R];
  for (int64_t m0 = 0; m0 < job.m; m0 += kBlockRows) {
    const int64_t m1 = smaller(m0 + kBlockRows, job.m);
    for (int64_t tile = job.tile_begin; tile < job.tile_end; ++tile) {
      const uint8_t* base = w.data + tile * w.tile_bytes;
      __builtin_memset(out, 0, static_cast<unsigned long>((m1 - m0 + R - 1) / R) * sizeof(Panel));
      // The lines of y are as far apart as its rows: they come while products are computed.
      for (int64_t m = m0; m < m1; ++m)
        __builtin_prefetch(job.y + m * job.ldy + tile * kTileRows, 1);
      for (int64_t u0 = 0; u0 < job.units; u0 += step) {
        const int64_t u1 = smaller(u0 + step, job.units);
        make(base, u0 * job.unit, smaller(u1 * job.unit, w.padded_cols));
        for (int64_t m = m0; m < m1; m += R) add(base, m, u0, u1, out[(m - m0) / R]);
      }
      for (int64_t m = m0; m < m1; ++m)
        store_tile_row(job.y + m * job.ldy + tile * kTileRows, out[(m - m0) / R].y[(m - m0) % R],
                       w.rows - tile * kTileRows);
    }
  }
}
