// OBQ (Frantar and Alistarh 2022, arXiv:2208.11580, algorithm 3): rounds one weight at a time,
// updates the free ones by the exact optimum, and removes the weight from the explicit inverse
// Hessian by Gaussian elimination. O(rows * columns^3), so an oracle for small layers. It shares no
// linear algebra with gptq and ldlq: no factor, no blocks, no library.
//
// Greedy is not a bound for GPTQ: it leaves the columns of high curvature for the end, where
// nothing can compensate any more.
#include <cmath>
#include <limits>
#include <mutex>

#include "halftone/recipe/rounder/feedback/tile.h"
#include "halftone/recipe/rounder/obq.h"
#include "halftone/recipe/rounder/shared/describe.h"

namespace halftone::rounder {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// inverse(H + lambda I) by Gauss-Jordan elimination without pivoting, which positive matrices do
// not need. H is the lower triangle that conditioning left.
Matrix<double> inverse(const Hessian& hessian) {
  const int64_t n = hessian.n;
  Matrix<double> a(n, n);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j) a.at(i, j) = a.at(j, i) = hessian.matrix->at(i, j);
    const double fill = hessian.diagonal[at(i)] > 0
                            ? hessian.diagonal[at(i)]
                            : 1;  // a dead input stands alone: any number will do
    a.at(i, i) = fill + hessian.lambda;
  }
  for (int64_t p = 0; p < n; ++p) {
    const double pivot = a.at(p, p);
    const auto pivot_row = a.row(p);
    for (double& x : pivot_row) x /= pivot;
    pivot_row[at(p)] = 1 / pivot;
    for (int64_t i = 0; i < n; ++i) {
      if (i == p) continue;
      const auto row = a.row(i);
      const double factor = row[at(p)];
      row[at(p)] = 0;
      for (int64_t j = 0; j < n; ++j) row[at(j)] -= factor * pivot_row[at(j)];
    }
  }
  return a;
}

// Takes column p out: what is left is the inverse of H without its row and column p. Rows and
// columns already taken out stay 0.
void remove(Matrix<double>& h_inverse, int64_t p) {
  const int64_t n = h_inverse.rows;
  const double pivot = h_inverse.at(p, p);
  const std::vector<double> row(h_inverse.row(p).begin(), h_inverse.row(p).end());
  for (int64_t i = 0; i < n; ++i) {
    const double factor = row[at(i)] / pivot;
    if (factor == 0) continue;
    const auto to = h_inverse.row(i);
    for (int64_t j = 0; j < n; ++j) to[at(j)] -= factor * row[at(j)];
  }
  for (int64_t i = 0; i < n; ++i) h_inverse.at(i, p) = h_inverse.at(p, i) = 0;
}

void round_in_order(Tile& tile, Matrix<double> h_inverse) {
  const int64_t n = tile.n, rows = tile.rows;
  std::vector<double> e(at(rows));
  for (int64_t p = 0; p < n; ++p) {
    if (tile.starts_group(p)) tile.open_group(p, tile.column(p));
    double* w = tile.column(p);
    for (int64_t r = 0; r < rows; ++r) e[at(r)] = w[r];
    tile.round_column(p, w, w);
    for (int64_t r = 0; r < rows; ++r) e[at(r)] = (e[at(r)] - w[r]) / h_inverse.at(p, p);
    for (int64_t j = p + 1; j < n; ++j)
      for (int64_t r = 0; r < rows; ++r) tile.column(j)[r] -= e[at(r)] * h_inverse.at(p, j);
    remove(h_inverse, p);
  }
}

// The free weight to round next: the worst of those that fell off the grid, else the one that costs
// least.
int64_t choose(const std::vector<double>& w, const std::vector<format::Grid>& grids,
               const std::vector<uint8_t>& done, const Matrix<double>& h_inverse) {
  int64_t cheapest = -1, worst = -1;
  double least = std::numeric_limits<double>::infinity(), largest = 0;
  for (int64_t j = 0; j < h_inverse.rows; ++j) {
    if (done[at(j)] != 0) continue;
    const format::Grid& grid = grids[at(j)];
    const double d = w[at(j)] - static_cast<double>(grid.value(grid.code(w[at(j)])));
    const double error = d * d, step = static_cast<double>(grid.scale);
    const double cost = error / h_inverse.at(j, j);
    if (cheapest < 0 || cost < least) least = cost, cheapest = j;
    if (error > step * step / 4 && error > largest) largest = error, worst = j;
  }
  return worst >= 0 ? worst : cheapest;
}

void round_greedily(Tile& tile, const Matrix<double>& shared) {
  const int64_t n = tile.n, rows = tile.rows;
  for (int64_t r = 0; r < rows; ++r) {
    Matrix<double> h_inverse = shared;
    std::vector<double> w(at(n));
    std::vector<format::Grid> grids(at(n));
    std::vector<uint8_t> done(at(n), 0);
    for (int64_t p = 0; p < n; ++p) {
      w[at(p)] = tile.column(p)[r];
      grids[at(p)] = tile.given_grid(p, r);
    }
    for (int64_t step = 0; step < n; ++step) {
      const int64_t p = choose(w, grids, done, h_inverse);
      const int32_t code = grids[at(p)].code(w[at(p)]);
      const double q = static_cast<double>(grids[at(p)].value(code));
      const double e = (w[at(p)] - q) / h_inverse.at(p, p);
      for (int64_t j = 0; j < n; ++j)
        if (done[at(j)] == 0) w[at(j)] -= e * h_inverse.at(p, j);
      w[at(p)] = q;
      done[at(p)] = 1;
      tile.set_code(p, r, code);
      remove(h_inverse, p);
    }
    for (int64_t p = 0; p < n; ++p) tile.column(p)[r] = w[at(p)];
  }
}

}  // namespace

Run obq_run() {
  return [](std::span<const Problem> problems, recipe::InputStatistics statistics, const Json& json,
            const Context& context) {
    const auto o = read_options<ObqOptions>(json, "obq");
    for (const Problem& problem : problems)
      if (problem.weight->cols > o.max_columns)
        throw UnsupportedError(
            problem.name,
            "obq takes rows x columns^3 steps, and " + std::to_string(problem.weight->cols) +
                " columns are above max_columns " + std::to_string(o.max_columns),
            "use gptq, or raise max_columns");
    const bool greedy = o.order == "greedy";
    const Settings settings{.order = o.order == "act_order" ? Order::act_order : Order::natural,
                            .damping = o.damping,
                            .static_groups = o.static_groups || greedy,
                            .nearest_if_worse = o.nearest_if_worse};
    std::once_flag once;
    Matrix<double> h_inverse;
    const auto algorithm = [&](Tile& tile) {
      std::call_once(once, [&] { h_inverse = inverse(tile.hessian); });
      if (greedy)
        round_greedily(tile, h_inverse);
      else
        round_in_order(tile, h_inverse);
    };
    return round_tiles(problems, statistics, settings, algorithm, context);
  };
}

}  // namespace halftone::rounder
