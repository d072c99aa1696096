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

#include "halftone/recipe/rounder/feedback/downdate.h"
#include "halftone/recipe/rounder/feedback/tile.h"
#include "halftone/recipe/rounder/obq.h"
#include "halftone/recipe/rounder/shared/describe.h"

namespace halftone::rounder {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

// The lower triangle is H as conditioning left it.
Matrix<double> damped(const Hessian& hessian) {
  Matrix<double> a(hessian.n, hessian.n);
  for (int64_t i = 0; i < hessian.n; ++i) {
    for (int64_t j = 0; j < i; ++j) a.at(i, j) = a.at(j, i) = hessian.matrix->at(i, j);
    // A dead input stands alone: any number will do.
    a.at(i, i) = (hessian.diagonal[at(i)] > 0 ? hessian.diagonal[at(i)] : 1) + hessian.lambda;
  }
  return a;
}

void round_in_order(Tile& tile, Matrix<double> h_inverse) {
  const int64_t n = tile.n, rows = tile.rows;
  std::vector<double> e(at(rows));
  for (int64_t p = 0; p < n; ++p) {
    if (tile.starts_group(p)) tile.open_group(p, tile.column(p));
    double* w = tile.column(p);
    for (int64_t r = 0; r < rows; ++r) e[at(r)] = w[r];
    tile.round_column(p, w, w);
    for (int64_t r = 0; r < rows; ++r) {
      tile.loss += (e[at(r)] - w[r]) * (e[at(r)] - w[r]) / h_inverse.at(p, p);
      e[at(r)] = (e[at(r)] - w[r]) / h_inverse.at(p, p);
    }
    for (int64_t j = p + 1; j < n; ++j)
      for (int64_t r = 0; r < rows; ++r) tile.column(j)[r] -= e[at(r)] * h_inverse.at(p, j);
    remove_column(h_inverse, p);
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
      tile.loss += (w[at(p)] - q) * e;
      for (int64_t j = 0; j < n; ++j)
        if (done[at(j)] == 0) w[at(j)] -= e * h_inverse.at(p, j);
      w[at(p)] = q;
      done[at(p)] = 1;
      tile.set_code(p, r, code);
      remove_column(h_inverse, p);
    }
    for (int64_t p = 0; p < n; ++p) tile.column(p)[r] = w[at(p)];
  }
}

}  // namespace

Run obq_run() {
  return [](std::span<const Problem> problems, recipe::InputStatistics&& statistics,
            const Json& json, const Context& context) {
    const auto o = read_options<ObqOptions>(json, "obq");
    for (const Problem& problem : problems)
      if (const std::string why = too_wide(o, problem.weight->cols); !why.empty())
        throw UnsupportedError(problem.name, why);
    const bool greedy = o.order == "greedy";
    const Settings settings{.order = o.order == "act_order" ? Order::act_order : Order::natural,
                            .damping = o.damping,
                            .static_groups = o.static_groups || greedy,
                            .nearest_if_worse = o.nearest_if_worse};
    std::once_flag once;
    Matrix<double> h_inverse;
    const auto algorithm = [&](Tile& tile) {
      std::call_once(once, [&] { h_inverse = invert_positive(damped(tile.hessian)); });
      if (greedy)
        round_greedily(tile, h_inverse);
      else
        round_in_order(tile, h_inverse);
    };
    return round_tiles(problems, statistics, settings, algorithm, context);
  };
}

}  // namespace halftone::rounder
