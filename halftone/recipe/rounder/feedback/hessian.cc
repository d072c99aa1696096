#include "halftone/recipe/rounder/feedback/hessian.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "halftone/base/error.h"
#include "halftone/linalg/linalg.h"

namespace halftone::rounder {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

void refuse_non_finite(const Matrix<double>& h, const std::string& name, ThreadPool& pool) {
  std::vector<int64_t> first(at(h.rows), -1);
  pool.split(h.rows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      double sum = 0;  // 0 * x is NaN exactly for NaN and infinity
      for (const double x : h.row(i)) sum += 0 * x;
      if (sum == 0) continue;
      int64_t j = 0;
      while (std::isfinite(h.at(i, j))) ++j;
      first[at(i)] = j;
    }
  });
  for (int64_t i = 0; i < h.rows; ++i)
    if (first[at(i)] >= 0)
      throw NumericError(name,
                         "the Hessian of its input is not finite at [" + std::to_string(i) + ", " +
                             std::to_string(first[at(i)]) + "]",
                         "the model's activations overflow on the calibration text: look for a "
                         "damaged weight before this layer");
}

std::vector<int32_t> processing_order(const std::vector<double>& diagonal, Order order,
                                      int64_t group) {
  const auto n = static_cast<int64_t>(diagonal.size());
  std::vector<int32_t> out(at(n));
  std::iota(out.begin(), out.end(), 0);
  const auto falling = [&](int32_t a, int32_t b) { return diagonal[at(a)] > diagonal[at(b)]; };
  if (order == Order::reverse) std::reverse(out.begin(), out.end());
  if (order == Order::act_order) std::stable_sort(out.begin(), out.end(), falling);
  if (order == Order::group_aware) {
    std::vector<double> largest(at((n + group - 1) / group), 0);
    for (int64_t k = 0; k < n; ++k)
      largest[at(k / group)] = std::max(largest[at(k / group)], diagonal[at(k)]);
    std::vector<int32_t> rank(largest.size());
    std::iota(rank.begin(), rank.end(), 0);
    std::stable_sort(rank.begin(), rank.end(),
                     [&](int32_t a, int32_t b) { return largest[at(a)] > largest[at(b)]; });
    out.clear();
    for (const int32_t g : rank) {
      const auto begin = static_cast<int32_t>(out.size());
      for (int64_t k = g * group; k < std::min(n, (g + 1) * group); ++k)
        out.push_back(static_cast<int32_t>(k));
      std::stable_sort(out.begin() + begin, out.end(), falling);
    }
  }
  return out;
}

bool is_identity(const std::vector<int32_t>& order) {
  for (size_t i = 0; i < order.size(); ++i)
    if (order[i] != static_cast<int32_t>(i)) return false;
  return true;
}

bool has_only_a_diagonal(const Matrix<double>& h, ThreadPool& pool) {
  std::vector<uint8_t> clean(at(h.rows), 1);
  pool.split(h.rows, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < i && clean[at(i)] != 0; ++j) clean[at(i)] = h.at(i, j) == 0;
  });
  return std::all_of(clean.begin(), clean.end(), [](uint8_t c) { return c != 0; });
}

}  // namespace

Hessian prepare_hessian(const recipe::InputStatistics& statistics, Order order, int64_t group,
                        double damping, const std::string& name, ThreadPool& pool) {
  check(statistics.hessian != nullptr && statistics.hessian->rows == statistics.hessian->cols,
        "a rounder with needs got no square Hessian");
  Hessian out;
  out.matrix = statistics.hessian;
  Matrix<double>& h = *out.matrix;
  const int64_t n = out.n = h.rows;
  refuse_non_finite(h, name, pool);

  // Dead inputs: nothing is known about their weights, which become 0; 1 on the diagonal keeps the
  // matrix regular.
  std::vector<double> diagonal(at(n));
  out.dead.assign(at(n), 0);
  double live_sum = 0;
  for (int64_t j = 0; j < n; ++j) {
    diagonal[at(j)] = h.at(j, j);
    out.dead[at(j)] = diagonal[at(j)] <= 0;
    out.dead_columns += out.dead[at(j)];
    live_sum += std::max(0.0, diagonal[at(j)]);
  }
  out.order.resize(at(n));
  std::iota(out.order.begin(), out.order.end(), 0);
  if (out.dead_columns == n) {
    out.failure = "no calibration token reached it: every column of its input is 0";
    return out;
  }
  // Published: 1. Where all inputs are tiny, 1 would drown them in the mean that damping is
  // relative to.
  out.dead_diagonal = std::min(1.0, live_sum / static_cast<double>(n - out.dead_columns));
  for (int64_t j = 0; j < n; ++j) {
    const bool is_dead = out.dead[at(j)] != 0;
    out.mean_diagonal += (is_dead ? out.dead_diagonal : diagonal[at(j)]) / static_cast<double>(n);
    if (!is_dead) continue;
    diagonal[at(j)] = 0;
    for (int64_t i = 0; i < n; ++i) h.at(i, j) = h.at(j, i) = 0;
  }
  out.diagonal = std::move(diagonal);
  out.uncorrelated = has_only_a_diagonal(h, pool);
  out.arrange(order, group, pool);
  double with = damping;
  for (int attempt = 0; !out.factor_with(with, pool); ++attempt) {
    if (attempt == 5) {
      out.failure = "its Hessian has no factor even with damping " + std::to_string(out.damping) +
                    ": too few different calibration tokens";
      break;
    }
    // Without damping the first step of the ladder is one part in 10^4.
    with = with > 0 ? with * 10 : 1e-4;
  }
  return out;
}

void Hessian::arrange(Order by, int64_t group, ThreadPool& pool) {
  Matrix<double>& h = *matrix;
  std::vector<double> by_column(at(n));
  std::vector<int32_t> position(at(n));
  for (int64_t p = 0; p < n; ++p) {
    const auto column = at(order[at(p)]);
    by_column[column] = dead[column] != 0 ? dead_diagonal : diagonal[at(p)];
    position[column] = static_cast<int32_t>(p);
  }
  std::vector<int32_t> wanted = processing_order(by_column, by, group), moves(at(n));
  for (int64_t p = 0; p < n; ++p) moves[at(p)] = position[at(wanted[at(p)])];
  if (!is_identity(moves)) {
    linalg::mirror_lower(h, pool);
    linalg::permute_symmetric(h, moves, pool);
  }
  order = std::move(wanted);
  for (int64_t p = 0; p < n; ++p)
    diagonal[at(p)] = dead[at(order[at(p)])] != 0 ? 0 : by_column[at(order[at(p)])];

  const int64_t blocks = (n + kBlock - 1) / kBlock;
  diagonal_blocks.assign(at(blocks * kBlock * kBlock), 0);
  for (int64_t p = 0; p < n; ++p) {
    const int64_t block = p / kBlock, begin = block * kBlock;
    double* row = diagonal_blocks.data() + (block * kBlock + (p - begin)) * kBlock;
    for (int64_t q = begin; q < p; ++q) row[q - begin] = h.at(p, q);
    row[p - begin] = diagonal[at(p)] / 2;
  }
}

bool Hessian::factor_with(double new_damping, ThreadPool& pool) {
  damping = new_damping;
  lambda = damping * mean_diagonal;
  linalg::mirror_lower(*matrix, pool);
  for (int64_t p = 0; p < n; ++p)
    matrix->at(p, p) = (dead[at(order[at(p)])] != 0 ? dead_diagonal : diagonal[at(p)]) + lambda;
  return linalg::factor_upper(*matrix, pool) < 0;
}

void invert(Hessian& hessian, ThreadPool& pool) { linalg::invert_upper(*hessian.matrix, pool); }

// d H d^T = 2 d tril(H, with half the diagonal) d^T: each block column of tril(H) times the part of
// d below it.
void Hessian::quadratic(const double* d, int64_t rows, std::span<double> out) const {
  std::vector<double> product(at(kBlock * rows));
  std::fill(out.begin(), out.end(), 0);
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t size = std::min(kBlock, n - begin), end = begin + size;
    linalg::gemm(true, false, size, rows, size, 1, diagonal_blocks.data() + begin * kBlock, kBlock,
                 d + begin * rows, rows, 0, product.data(), rows);
    if (end < n)
      linalg::gemm(true, false, size, rows, n - end, 1, matrix->data.data() + end * n + begin, n,
                   d + end * rows, rows, 1, product.data(), rows);
    for (int64_t i = 0; i < size; ++i) {
      const double *own = d + (begin + i) * rows, *other = product.data() + i * rows;
      for (int64_t r = 0; r < rows; ++r) out[at(r)] += 2 * own[r] * other[r];
    }
  }
  for (double& x : out) x = std::max(0.0, x);
}

}  // namespace halftone::rounder
