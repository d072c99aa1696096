// How gemv_float walks tiles and rows, the same on every instruction set. A gemv_float_<isa>.cc
// file defines, in its anonymous namespace, walk_dense<store, J, R> and walk_codes<B, J, R, with
// zeros>, J tiles by R rows at a time, and kNoZerosBits, the widest codes for which skipping zero
// points is worth its code; it includes this there, so every copy is private to its flags.

template <int B, int J, int R>
void walk_codes(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  // Four tiles: the path of decode.
  if constexpr (J == 4 && B <= kNoZerosBits) {
    if (job.w.zeros_offset < 0) return walk_codes<B, J, R, false>(job, tile, m0);
  }
  walk_codes<B, J, R, true>(job, tile, m0);
}

template <int J, int R>
void walk(const FloatMatmul& job, const int64_t* tile, int64_t m0) {
  switch (job.w.store) {
    case Store::f32:
      return walk_dense<Store::f32, J, R>(job, tile, m0);
    case Store::f16:
      return walk_dense<Store::f16, J, R>(job, tile, m0);
    case Store::bf16:
      return walk_dense<Store::bf16, J, R>(job, tile, m0);
    case Store::codes:
      break;
  }
  by_kind(job.w, [&](auto b) { walk_codes<b.kValue, J, R>(job, tile, m0); });
}

inline void walk_all(const FloatMatmul& job) {
  by_tiles<0>(job.tile_begin, job.tile_end, job.m, [&](auto tiles, const int64_t* tile) {
    constexpr int J = decltype(tiles)::kValue;
    by_rows<J == 4 ? 1 : 4>(
        job.m, [&](auto rows, int64_t m) { walk<J, decltype(rows)::kValue>(job, tile, m); });
  });
}
