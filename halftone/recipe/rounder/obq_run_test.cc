#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "halftone/recipe/rounder/feedback/downdate.h"
#include "halftone/recipe/rounder/feedback/test_problem.h"

namespace halftone::rounder {
namespace {

TEST(Downdate, LeavesTheInverseOfTheReducedMatrix) {
  const auto h = random_layer(1, 12, 1).hessian();
  auto inverse = invert_positive(h);
  for (int64_t i = 0; i < 12; ++i)
    for (int64_t j = 0; j < 12; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < 12; ++k) sum += h.at(i, k) * inverse.at(k, j);
      EXPECT_NEAR(sum, i == j, 1e-10);
    }
  std::vector<int64_t> left = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
  for (const int64_t gone : {7, 0, 11, 4}) {
    remove_column(inverse, gone);
    left.erase(std::find(left.begin(), left.end(), gone));
    const auto size = static_cast<int64_t>(left.size());
    Matrix<double> reduced(size, size);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j < size; ++j)
        reduced.at(i, j) = h.at(left[static_cast<size_t>(i)], left[static_cast<size_t>(j)]);
    const auto expected = invert_positive(reduced);
    for (int64_t i = 0; i < size; ++i)
      for (int64_t j = 0; j < size; ++j)
        EXPECT_NEAR(inverse.at(left[static_cast<size_t>(i)], left[static_cast<size_t>(j)]),
                    expected.at(i, j), 1e-10);
    for (int64_t i = 0; i < 12; ++i) EXPECT_EQ(inverse.at(i, gone), 0);
  }
}

// The least error over all codes of one row on its nearest grid.
double exhaustive(const TestLayer& layer, const format::Format& f) {
  const auto codes = format::quantize_nearest(layer.w, f);
  const auto h = layer.hessian();
  const int64_t k = layer.w.cols, levels = int64_t{1} << f.bits;
  int64_t count = 1;
  for (int64_t i = 0; i < k; ++i) count *= levels;
  double best = 1e300;
  std::vector<double> d(static_cast<size_t>(k));
  for (int64_t index = 0; index < count; ++index) {
    for (int64_t i = 0, rest = index; i < k; ++i, rest /= levels)
      d[static_cast<size_t>(i)] = static_cast<double>(codes.scale(0, 0)) *
                                      static_cast<double>(rest % levels - codes.zero(0, 0)) -
                                  static_cast<double>(layer.w.at(0, i));
    double error = 0;
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < k; ++j)
        error += d[static_cast<size_t>(i)] * h.at(i, j) * d[static_cast<size_t>(j)];
    best = std::min(best, error);
  }
  return best;
}

// The rule of the paper by search: of all columns that are left, round the one after which the
// least squares optimum over the others, solved anew, has the smallest error; before those the one
// that is farthest off the grid, if one is off by more than half a step. Codes of row n on the grid
// of `codes`.
std::vector<uint8_t> greedy_by_search(const TestLayer& layer, int64_t n,
                                      const format::Codes& codes) {
  const auto h = layer.hessian();
  const int64_t k = layer.w.cols, top = (int64_t{1} << codes.format.bits) - 1;
  const double scale = static_cast<double>(codes.scale(n, 0));
  // d = value - weight: of fixed columns as given, of free ones the optimum.
  const auto optimum = [&](const std::vector<double>& fixed, const std::vector<bool>& is_fixed) {
    std::vector<int64_t> free;
    for (int64_t i = 0; i < k; ++i)
      if (!is_fixed[static_cast<size_t>(i)]) free.push_back(i);
    std::vector<double> d = fixed;
    const auto m = static_cast<int64_t>(free.size());
    if (m == 0) return d;
    Matrix<double> a(m, m);
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < m; ++j)
        a.at(i, j) = h.at(free[static_cast<size_t>(i)], free[static_cast<size_t>(j)]);
    const auto inverse = invert_positive(a);
    for (int64_t i = 0; i < m; ++i) {
      double sum = 0;
      for (int64_t j = 0; j < m; ++j)
        for (int64_t f = 0; f < k; ++f)
          if (is_fixed[static_cast<size_t>(f)])
            sum -= inverse.at(i, j) * h.at(free[static_cast<size_t>(j)], f) *
                   fixed[static_cast<size_t>(f)];
      d[static_cast<size_t>(free[static_cast<size_t>(i)])] = sum;
    }
    return d;
  };
  std::vector<double> fixed(static_cast<size_t>(k), 0);
  std::vector<bool> is_fixed(static_cast<size_t>(k), false);
  std::vector<uint8_t> out(static_cast<size_t>(k));
  for (int64_t step = 0; step < k; ++step) {
    const std::vector<double> now = optimum(fixed, is_fixed);
    double least = 1e300, chosen_d = 0, farthest = 0;
    size_t chosen = 0;
    for (size_t q = 0; q < static_cast<size_t>(k); ++q) {
      if (is_fixed[q]) continue;
      const double w = static_cast<double>(layer.w.at(n, static_cast<int64_t>(q)));
      const double code =
          std::clamp(std::nearbyint((w + now[q]) / scale) + static_cast<double>(codes.zero(n, 0)),
                     0.0, static_cast<double>(top));
      const double d_q = scale * (code - static_cast<double>(codes.zero(n, 0))) - w;
      auto tried = fixed;
      auto tried_fixed = is_fixed;
      tried[q] = d_q;
      tried_fixed[q] = true;
      const std::vector<double> d = optimum(tried, tried_fixed);
      double error = 0;
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < k; ++j)
          error += d[static_cast<size_t>(i)] * h.at(i, j) * d[static_cast<size_t>(j)];
      const double off = std::abs(now[q] - d_q);
      const bool outlier = off > scale / 2 * (1 + 1e-9);
      if (outlier ? off <= farthest : farthest > 0 || error >= least) continue;
      if (outlier) farthest = off;
      least = error;
      chosen = q;
      chosen_d = d_q;
      out[q] = static_cast<uint8_t>(code);
    }
    fixed[chosen] = chosen_d;
    is_fixed[chosen] = true;
  }
  return out;
}

TEST(Obq, IsTheGreedyRuleByExhaustiveSearch) {
  for (const int64_t columns : {2, 3, 4, 5, 6})
    for (const bool symmetric : {true, false}) {
      const auto f = row_format(3, symmetric);
      const auto layer = random_layer(24, columns, static_cast<uint64_t>(10 * columns), 0.3, 24);
      const auto obq =
          round_layer(obq_run(), layer, f, {{"nearest_if_worse", false}, {"damping", 0}});
      for (int64_t n = 0; n < layer.w.rows; ++n)
        EXPECT_EQ(std::vector<uint8_t>(obq.codes.codes.begin() + n * columns,
                                       obq.codes.codes.begin() + (n + 1) * columns),
                  greedy_by_search(layer, n, obq.codes))
            << columns << " columns, row " << n;
    }
}

TEST(Obq, IsNearTheOptimumOnSmallLayers) {
  std::vector<double> obq, gptq, nearest;
  const auto f = row_format(3, false);
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const auto layer = random_layer(1, 5, 100 + seed, 0.3, 20);
    const double best = exhaustive(layer, f);
    const Json raw{{"nearest_if_worse", false}, {"damping", 0}};
    const auto a = round_layer(obq_run(), layer, f, raw),
               b = round_layer(gptq_run(), layer, f, raw);
    EXPECT_GE(a.error, best * (1 - 1e-9));
    EXPECT_GE(b.error, best * (1 - 1e-9));
    obq.push_back(a.error / best);
    gptq.push_back(b.error / best);
    nearest.push_back(a.nearest_error / best);
  }
  const auto median = [](std::vector<double> v) {
    std::nth_element(v.begin(), v.begin() + 30, v.end());
    return v[30];
  };
  // The mean is far above: greedy sometimes misses by much.
  EXPECT_LT(median(obq), 1.1);
  EXPECT_LT(median(gptq), 1.1);
  EXPECT_GT(median(nearest), median(obq));
}

TEST(Obq, GreedyCompensatesOnCorrelatedInputs) {
  const auto q = round_layer(obq_run(), random_layer(24, 48, 2), row_format(3), Json::object());
  EXPECT_LT(q.ratio(), 0.7);
  EXPECT_EQ(q.damping, 0);
  // Grids of groups are fitted beforehand: those of nearest.
  const format::Format f{.bits = 3, .group = 16};
  const auto layer = random_layer(24, 50, 3);
  const auto grouped = round_layer(obq_run(), layer, f, {{"nearest_if_worse", false}});
  EXPECT_EQ(grouped.codes.scales, format::quantize_nearest(layer.w, f).scales);
  EXPECT_NEAR(grouped.error, layer_error(grouped.codes.dequantize(), layer.w, layer.hessian()),
              1e-9 * grouped.error);
  EXPECT_NEAR(grouped.damped_loss, grouped.error,
              1e-6 * grouped.error);  // no damping: the two are one
}

TEST(Obq, AddsDampingOnlyWhereItMust) {
  const auto q = round_layer(obq_run(), random_layer(5, 20, 4, 1, 7), row_format(3),
                             Json::object());  // rank 7 of 20
  EXPECT_GT(q.damping, 0);
  EXPECT_LE(q.damping, 0.01);
}

TEST(Obq, RefusesLayersThatWouldTakeForEver) {
  const auto layer = random_layer(2, 30, 5);
  try {
    round_layer(obq_run(), layer, row_format(3), {{"max_columns", 16}});
    FAIL();
  } catch (const UnsupportedError& e) {
    EXPECT_EQ(e.line(),
              "error[E_UNSUPPORTED] layer: obq takes rows x columns^3 steps, and 30 columns are "
              "above max_columns 16; use gptq, or raise max_columns");
  }
}

}  // namespace
}  // namespace halftone::rounder
