// How products of bf16 go through rows and tiles where there are no tile registers. A
// matmul_bf16_<isa>.cc file defines, in its anonymous namespace, kMostRows and kMostTiles (rows by
// tiles whose sums fill the registers) and `struct Pairs`; it includes this there, so every copy is
// private to the flags it was compiled with.
//
// Pairs: V, 16 floats; zero(), load(p), store(p, v) at 64-byte aligned floats, add, fma(w, x, sum)
// with a float x for all lanes, even(line) and odd(line), the k of a line of pairs widened to
// floats, widen(x, out): 32 bf16 to floats.

constexpr int64_t kWideSteps = 8;  // steps of x widened at a time: 12 rows are 12 KiB
constexpr int64_t kWideCols = kWideSteps * kBf16Step;

// The chains of the even or odd k of one step.
template <bool Odd, int R, int J>
inline __attribute__((always_inline)) void chain(const float* x, const uint16_t* const (&line)[J],
                                                 typename Pairs::V (&sum)[R][J]) {
#pragma GCC unroll 12
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
    for (int j = 0; j < J; ++j) sum[r][j] = Pairs::zero();
  for (int64_t i = 0; i < kBf16Step / 2; ++i) {
    typename Pairs::V v[J];
#pragma GCC unroll 2
    for (int j = 0; j < J; ++j)
      v[j] = Odd ? Pairs::odd(line[j] + i * 32) : Pairs::even(line[j] + i * 32);
    const float* at = x + 2 * i + (Odd ? 1 : 0);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int j = 0; j < J; ++j) sum[r][j] = Pairs::fma(v[j], at[r * kWideCols], sum[r][j]);
  }
}

// y[r][j] += steps [0, count) of R rows by J tiles. x: rows kWideCols apart. One kind of chain at a
// time, so that the sums stay in registers.
template <int R, int J>
[[gnu::noinline]] void add_steps(const float* x, const uint16_t* const* w, int64_t count,
                                 float (&y)[R][J][kTileRows]) {
  const uint16_t* line[J];
  for (int j = 0; j < J; ++j) line[j] = w[j];
  for (int64_t s = 0; s < count; ++s, x += kBf16Step) {
    alignas(64) float even[R][J][kTileRows];
    {
      typename Pairs::V sum[R][J];
      chain<false, R, J>(x, line, sum);
#pragma GCC unroll 12
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int j = 0; j < J; ++j) Pairs::store(even[r][j], sum[r][j]);
    }
    typename Pairs::V sum[R][J];
    chain<true, R, J>(x, line, sum);
#pragma GCC unroll 12
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int j = 0; j < J; ++j) {
        const auto both = Pairs::add(Pairs::load(even[r][j]), sum[r][j]);
        Pairs::store(y[r][j], Pairs::add(Pairs::load(y[r][j]), both));
      }
    for (int j = 0; j < J; ++j) line[j] += kBf16Step * kTileRows;
  }
}

// R rows from m by J tiles from `tile`, over `steps` of k from step `first` on.
template <int R, int J>
void block(const Bf16Matmul& job, const float* x, int64_t m, int64_t tile, int64_t first,
           int64_t steps) {
  alignas(64) float y[R][J][kTileRows] = {};
  const uint16_t* w[J];
  const auto columns = [&](int j) {
    const int64_t left = job.w.rows - (tile + j) * kTileRows;
    return left < kTileRows ? left : kTileRows;
  };
  const auto at = [&](int r, int j) { return job.y + (m + r) * job.ldy + (tile + j) * kTileRows; };
  for (int j = 0; j < J; ++j) {
    w[j] = job.w.data + (tile + j) * job.w.stride + first * kBf16Step * kTileRows;
    if (first > 0)
      for (int r = 0; r < R; ++r)
        for (int64_t n = 0; n < columns(j); ++n) y[r][j][n] = at(r, j)[n];
  }
  add_steps<R, J>(x, w, steps, y);
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < J; ++j) {
      float* to = at(r, j);
      if (columns(j) == kTileRows)
        for (int64_t n = 0; n < kTileRows; ++n) to[n] = y[r][j][n];
      else
        for (int64_t n = 0; n < columns(j); ++n) to[n] = y[r][j][n];
    }
}

template <int R>
void rows(const Bf16Matmul& job, int64_t m) {
  alignas(64) float x[R * kWideCols];
  const int64_t steps = job.k / kBf16Step;
  for (int64_t first = 0; first < steps; first += kWideSteps) {
    const int64_t count = steps - first < kWideSteps ? steps - first : kWideSteps;
    for (int64_t r = 0; r < R; ++r)
      for (int64_t s = 0; s < count; ++s)
        Pairs::widen(job.x + (m + r) * job.ldx + (first + s) * kBf16Step,
                     x + r * kWideCols + s * kBf16Step);
    int64_t tile = job.tile_begin;
    if constexpr (kMostTiles == 2)
      for (; tile + 2 <= job.tile_end; tile += 2) block<R, 2>(job, x, m, tile, first, count);
    for (; tile < job.tile_end; ++tile) block<R, 1>(job, x, m, tile, first, count);
  }
}

inline void multiply_bf16(const Bf16Matmul& job) {
  int64_t m = 0;
  for (; m + kMostRows <= job.m; m += kMostRows) rows<kMostRows>(job, m);
  if constexpr (kMostRows > 6)
    for (; m + 6 <= job.m; m += 6) rows<6>(job, m);
  for (; m + 3 <= job.m; m += 3) rows<3>(job, m);
  for (; m + 2 <= job.m; m += 2) rows<2>(job, m);
  for (; m < job.m; ++m) rows<1>(job, m);
}
