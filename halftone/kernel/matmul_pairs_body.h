// How matmul_pairs walks tiles and rows, the same on every instruction set. A
// matmul_pairs_<isa>.cc file defines, in its anonymous namespace, Bytes (a vector of bytes) and
// kParts (how many of them a line of codes is), load, low and high (nibbles as indices), look_up
// (16-byte tables, one for each 16 bytes of indices), Sums (of 16 rows, whole after up to 256 k;
// cleared() makes one) with add(sums, first, second), and Row (16 floats; zero_row() makes one)
// with add_unit(y, sums, unit) and store_row; it includes this there, so every copy is private to
// its flags.

struct Unit {
  const Tiles& w;
  const uint8_t* tile;
  int64_t group, count;  // k
  int32_t sum;           // of X
  float a;
  // What `256 * sum of bytes` is away from D, where all rows have one zero-point.
  int32_t offset() const { return bias() - (2 * w.zero - 3) * sum; }
  // Bytes are T + 128, one for two k.
  int32_t bias() const { return static_cast<int32_t>(-16384 * count); }
};

// J tiles times R rows over the k of one unit. A function of its own, with its loops over sums
// unrolled, so that GCC 12 keeps the sums in registers.
template <int J, int R>
[[gnu::noinline]] void sum_unit(const uint8_t* const* lines, const uint8_t* tables, int64_t stride,
                                int64_t count, Sums (&out)[R][J]) {
  constexpr int64_t kPart = 64 / kParts;
  const uint8_t* from[J];
  Sums sum[R][J];
#pragma GCC unroll 4
  for (int j = 0; j < J; ++j) {
    from[j] = lines[j];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[r][j] = cleared();
  }
  do {
#pragma GCC unroll 4
    for (int64_t part = 0; part < kParts * kPart; part += kPart) {
      Bytes v[J];
#pragma GCC unroll 4
      for (int j = 0; j < J; ++j) v[j] = load(from[j] + part);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) {
        const uint8_t* table = tables + r * stride + part;
        const Bytes first = load(table), second = load(table + 64);
#pragma GCC unroll 4
        for (int j = 0; j < J; ++j)
          add(sum[r][j], look_up(first, low(v[j])), look_up(second, high(v[j])));
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < J; ++j) from[j] += 64;
    tables += 128;
  } while ((count -= 16) > 0);
#pragma GCC unroll 4
  for (int j = 0; j < J; ++j)
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) out[r][j] = sum[r][j];
}

// J tiles (numbers in `tile`) times R rows of x from row m0.
template <int J, int R>
void walk(const IntMatmul& job, const int64_t* tile, int64_t m0) {
  const Tiles& w = job.w;
  const int64_t stride = w.padded_cols * 8;
  const auto* tables = reinterpret_cast<const uint8_t*>(job.x) + m0 * stride;
  const uint8_t* base[J];
  for (int j = 0; j < J; ++j) base[j] = w.data + tile[j] * w.tile_bytes;
  Row y[R][J];
  for (auto& row : y)
    for (auto& t : row) t = zero_row();
  Place place(w, job.units_per_group);
  for (int64_t u = 0; u < job.units; ++u, place.next()) {
    const int64_t begin = u * job.unit, count = smaller(job.unit, w.padded_cols - begin);
    const uint8_t* lines[J];
    for (int j = 0; j < J; ++j) lines[j] = base[j] + w.codes_offset + begin * 4;
    Sums sum[R][J];
    sum_unit<J, R>(lines, tables + begin * 8, stride, count, sum);
    for (int r = 0; r < R; ++r) {
      const int64_t at = (m0 + r) * job.units + u;
      for (int j = 0; j < J; ++j)
        add_unit(y[r][j], sum[r][j], {w, base[j], place.group, count, job.sums[at], job.a[at]});
    }
  }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j)
      store_row(job.y + (m0 + r) * job.ldy + tile[j] * kTileRows, y[r][j],
                w.rows - tile[j] * kTileRows);
}

// Few rows read the weights once. Many take turns of as many tables as stay in the second cache;
// the weights are small beside them.
inline void walk_all(const IntMatmul& job) {
  constexpr int64_t kTables = 192 << 10;  // bytes
  const int64_t fit = kTables / (job.w.padded_cols * 8) / 4 * 4, most = job.m <= kRowsLimit ? job.m
                                                                        : fit < 4           ? 4
                                                                                            : fit;
  for (int64_t m0 = 0; m0 < job.m; m0 += most) {
    const int64_t rows = smaller(most, job.m - m0);
    by_tiles<2>(job.tile_begin, job.tile_end, rows, [&](auto tiles, const int64_t* tile) {
      constexpr int J = decltype(tiles)::kValue;
      by_rows<4 / J>(rows,
                     [&](auto r, int64_t m) { walk<J, decltype(r)::kValue>(job, tile, m0 + m); });
    });
  }
}
