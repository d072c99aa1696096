// The Hessian of one input, made ready for rounders that compensate: dead columns, order of
// processing, damping, factor. All in place, so a layer of K inputs costs 8 K^2 bytes and no more.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/tensor.h"
#include "halftone/base/threads.h"
#include "halftone/recipe/block_engine.h"

namespace halftone::rounder {

// In which order columns are rounded. Ties keep their order.
//   act_order    falling diag(H)
//   group_aware  groups of `group` columns by their largest diag(H), falling diag(H) inside each
enum class Order : uint8_t { natural, reverse, act_order, group_aware };

struct Hessian {
  static constexpr int64_t kBlock = 128;

  int64_t n = 0;
  // In processing order. Strict lower triangle: H as captured, rows and columns of dead inputs
  // zeroed. Upper triangle with the diagonal: the factor, R with H + lambda I = R R^T, or after
  // `invert` its inverse U (inverse(H + lambda I) = U^T U).
  std::shared_ptr<Matrix<double>> matrix;
  std::vector<double> diagonal;         // of H in processing order; 0 for dead inputs
  double dead_diagonal = 0;             // what they have on the diagonal of the factored matrix
  double mean_diagonal = 0;             // of that matrix, without lambda
  std::vector<double> diagonal_blocks;  // tril(H) with half the diagonal, block after block of
                                        // [kBlock, kBlock]: for `quadratic`
  std::vector<int32_t> order;           // order[p] = column handled p-th
  std::vector<uint8_t> dead;            // [n] by original column: the input was always 0
  int64_t dead_columns = 0;
  double lambda = 0, damping = 0;  // damping = lambda / mean diag(H): what was really used
  bool uncorrelated = false;       // no element off the diagonal
  std::string failure;             // why there is no factor; empty when there is one

  double factor(int64_t i, int64_t j) const { return matrix->at(i, j); }

  // Another order; columns as they are until it is called. The upper triangle holds nothing then.
  void arrange(Order by, int64_t group, ThreadPool& pool);
  // The upper triangle becomes R for this damping, whatever it held. False: no factor.
  bool factor_with(double new_damping, ThreadPool& pool);

  // out[r] = d_r H d_r^T for the columns of D^T [n, rows] in processing order: straight from H, so
  // it does not inherit the factor's rounding and has no damping in it. n^2 * rows multiply-adds,
  // one thread.
  void quadratic(const double* d, int64_t rows, std::span<double> out) const;
};

// Checks and conditions H (NumericError naming `name` when it is not finite), orders it, and
// factors it with damping * mean diag(H), then with ten times as much, up to five times. The mean
// is taken after the diagonal of dead inputs was set to 1 (to the mean of the others, where that is
// less). `statistics.hessian` is consumed.
Hessian prepare_hessian(const recipe::InputStatistics& statistics, Order order, int64_t group,
                        double damping, const std::string& name, ThreadPool& pool);
// R -> U.
void invert(Hessian& hessian, ThreadPool& pool);

}  // namespace halftone::rounder
