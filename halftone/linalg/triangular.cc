#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "halftone/base/error.h"
#include "halftone/linalg/blas.h"
#include "halftone/linalg/linalg.h"

namespace halftone::linalg {
namespace {

// Rows and columns of a tile: depends on n alone, so that the sums do.
int64_t tile_for(int64_t n) { return n >= 4096 ? 256 : 128; }

// R R^T of one diagonal block on one thread: the bottom right half first, then the panel above it,
// then what is left. Returns -1 or the failing row.
int64_t factor_block(double* a, int64_t n, int64_t ld) {
  if (n > 32) {
    const int64_t top = n / 2, bottom = n - top;
    double* corner = a + top * ld + top;
    double* panel = a + top;
    if (const int64_t bad = factor_block(corner, bottom, ld); bad >= 0) return top + bad;
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasTrans, CblasNonUnit, dim(top),
                dim(bottom), 1.0, corner, dim(ld), panel, dim(ld));
    cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, dim(top), dim(bottom), -1.0, panel,
                dim(ld), 1.0, a, dim(ld));
    return factor_block(a, top, ld);
  }
  for (int64_t j = n - 1; j >= 0; --j) {
    const double* row_j = a + j * ld;
    double pivot = row_j[j];
    for (int64_t k = j + 1; k < n; ++k) pivot -= row_j[k] * row_j[k];
    if (!(pivot > 0) || !std::isfinite(pivot)) return j;
    const double diagonal = std::sqrt(pivot);
    a[j * ld + j] = diagonal;
    for (int64_t i = 0; i < j; ++i) {
      double* row_i = a + i * ld;
      double sum = row_i[j];
      for (int64_t k = j + 1; k < n; ++k) sum -= row_i[k] * row_j[k];
      row_i[j] = sum / diagonal;
    }
  }
  return -1;
}

// Inverse of one diagonal block: [A B; 0 C] -> [A' -A'BC'; 0 C'].
void invert_block(double* r, int64_t n, int64_t ld) {
  if (n == 1) {
    r[0] = 1 / r[0];
    return;
  }
  const int64_t top = n / 2, bottom = n - top;
  double* corner = r + top * ld + top;
  double* panel = r + top;
  invert_block(r, top, ld);
  invert_block(corner, bottom, ld);
  cblas_dtrmm(CblasRowMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, dim(top),
              dim(bottom), -1.0, r, dim(ld), panel, dim(ld));
  cblas_dtrmm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, dim(top),
              dim(bottom), 1.0, corner, dim(ld), panel, dim(ld));
}

}  // namespace

int64_t factor_upper(Matrix<double>& a, ThreadPool& pool) {
  check(a.rows == a.cols, "factor_upper: not square");
  use_one_thread();
  const int64_t n = a.rows, tile = tile_for(n), tiles = (n + tile - 1) / tile;
  double* const base = a.data.data();
  for (int64_t t = tiles - 1; t >= 0; --t) {
    const int64_t begin = t * tile, size = std::min(tile, n - begin);
    double* corner = base + begin * n + begin;
    if (const int64_t bad = factor_block(corner, size, n); bad >= 0) return begin + bad;
    // The panel above: P <- P inverse(R)^T.
    pool.each(t, [&](int64_t i) {
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasTrans, CblasNonUnit, dim(tile),
                  dim(size), 1.0, corner, dim(n), base + i * tile * n + begin, dim(n));
    });
    // What is left: A_ij -= P_i P_j^T for j >= i, in strips of up to four tiles.
    std::vector<std::pair<int64_t, int64_t>> strips;  // (row tile, first column tile)
    for (int64_t i = 0; i < t; ++i)
      for (int64_t j = i; j < t; j = j == i ? i + 1 : j + 4) strips.emplace_back(i, j);
    pool.each(static_cast<int64_t>(strips.size()), [&](int64_t s) {
      const auto [i, j] = strips[static_cast<size_t>(s)];
      const double* panel_i = base + i * tile * n + begin;
      const double* panel_j = base + j * tile * n + begin;
      double* out = base + i * tile * n + j * tile;
      if (i == j)
        cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, dim(tile), dim(size), -1.0, panel_i,
                    dim(n), 1.0, out, dim(n));
      else
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, dim(tile),
                    dim(std::min<int64_t>(4, t - j) * tile), dim(size), -1.0, panel_i, dim(n),
                    panel_j, dim(n), 1.0, out, dim(n));
    });
  }
  return -1;
}

void invert_upper(Matrix<double>& r, ThreadPool& pool) {
  check(r.rows == r.cols, "invert_upper: not square");
  use_one_thread();
  const int64_t n = r.rows, tile = tile_for(n), tiles = (n + tile - 1) / tile;
  double* const base = r.data.data();
  std::vector<double> panel(static_cast<size_t>(std::max<int64_t>(0, (tiles - 1) * tile * tile)));
  for (int64_t t = 0; t < tiles; ++t) {
    const int64_t begin = t * tile, size = std::min(tile, n - begin);
    double* corner = base + begin * n + begin;
    invert_block(corner, size, n);
    // panel = R_above * inverse(R_corner), a copy because the rows above are overwritten in any
    // order.
    pool.each(t, [&](int64_t i) {
      double* part = panel.data() + i * tile * tile;
      for (int64_t row = 0; row < tile; ++row) {
        const double* from = base + (i * tile + row) * n + begin;
        std::copy(from, from + size, part + row * tile);
      }
      cblas_dtrmm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, dim(tile),
                  dim(size), 1.0, corner, dim(n), part, dim(tile));
    });
    // U_above = -U_before * panel, one tile of rows at a time; the longest sums come first.
    pool.each(t, [&](int64_t i) {
      double* out = base + i * tile * n + begin;
      const double* part = panel.data() + i * tile * tile;
      for (int64_t row = 0; row < tile; ++row)
        std::copy(part + row * tile, part + row * tile + size, out + row * n);
      cblas_dtrmm(CblasRowMajor, CblasLeft, CblasUpper, CblasNoTrans, CblasNonUnit, dim(tile),
                  dim(size), -1.0, base + i * tile * n + i * tile, dim(n), out, dim(n));
      const int64_t after = (i + 1) * tile;
      if (after < begin)
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, dim(tile), dim(size),
                    dim(begin - after), -1.0, base + i * tile * n + after, dim(n),
                    panel.data() + after * tile, dim(tile), 1.0, out, dim(n));
    });
  }
}

void mirror_lower(Matrix<double>& a, ThreadPool& pool) {
  constexpr int64_t kTile = 64;
  const int64_t n = a.rows, tiles = (n + kTile - 1) / kTile;
  pool.each(tiles, [&](int64_t t) {  // writes rows of tile t above the diagonal, reads columns of
                                     // tile t below it
    const int64_t r0 = t * kTile, r1 = std::min(n, r0 + kTile);
    for (int64_t c0 = r0; c0 < n; c0 += kTile)
      for (int64_t r = r0; r < r1; ++r)
        for (int64_t c = std::max(c0, r + 1); c < std::min(n, c0 + kTile); ++c)
          a.at(r, c) = a.at(c, r);
  });
}

void permute_symmetric(Matrix<double>& a, std::span<const int32_t> order, ThreadPool& pool) {
  const int64_t n = a.rows;
  check(static_cast<int64_t>(order.size()) == n && a.cols == n,
        "permute_symmetric: order has the wrong length");
  pool.split(n, [&](int64_t begin, int64_t end) {  // columns, within each row
    std::vector<double> old(static_cast<size_t>(n));
    for (int64_t r = begin; r < end; ++r) {
      const auto row = a.row(r);
      std::copy(row.begin(), row.end(), old.begin());
      for (int64_t c = 0; c < n; ++c)
        row[static_cast<size_t>(c)] = old[static_cast<size_t>(order[static_cast<size_t>(c)])];
    }
  });
  // Rows, by following the cycles of the permutation; each worker moves its own range of columns.
  pool.split(n, [&](int64_t begin, int64_t end) {
    std::vector<bool> done(static_cast<size_t>(n), false);
    std::vector<double> first(static_cast<size_t>(end - begin));
    for (int64_t start = 0; start < n; ++start) {
      if (done[static_cast<size_t>(start)]) continue;
      std::copy(&a.at(start, begin), &a.at(start, begin) + (end - begin), first.begin());
      int64_t r = start;
      for (;;) {
        done[static_cast<size_t>(r)] = true;
        const int64_t from = order[static_cast<size_t>(r)];
        if (from == start) break;
        std::copy(&a.at(from, begin), &a.at(from, begin) + (end - begin), &a.at(r, begin));
        r = from;
      }
      std::copy(first.begin(), first.end(), &a.at(r, begin));
    }
  });
}

void gemm(bool transpose_a, bool transpose_b, int64_t m, int64_t n, int64_t k, double alpha,
          const double* a, int64_t lda, const double* b, int64_t ldb, double beta, double* c,
          int64_t ldc) {
  if (m == 0 || n == 0) return;
  use_one_thread();
  cblas_dgemm(CblasRowMajor, transpose_a ? CblasTrans : CblasNoTrans,
              transpose_b ? CblasTrans : CblasNoTrans, dim(m), dim(n), dim(k), alpha, a, dim(lda),
              b, dim(ldb), beta, c, dim(ldc));
}

void solve_upper(bool transpose, int64_t n, int64_t m, const double* r, int64_t ldr, double* b,
                 int64_t ldb) {
  if (m == 0 || n == 0) return;
  use_one_thread();
  cblas_dtrsm(CblasRowMajor, CblasLeft, CblasUpper, transpose ? CblasTrans : CblasNoTrans,
              CblasNonUnit, dim(n), dim(m), 1.0, r, dim(ldr), b, dim(ldb));
}

}  // namespace halftone::linalg
