#include "halftone/linalg/linalg.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "halftone/base/rng.h"

namespace halftone::linalg {
namespace {

std::vector<float> random_inputs(int64_t tokens, int64_t k, uint64_t seed, float scale = 1) {
  const CounterRng rng(seed);
  std::vector<float> x(static_cast<size_t>(tokens * k));
  for (size_t i = 0; i < x.size(); ++i) x[i] = scale * static_cast<float>(rng.normal(i));
  return x;
}

Matrix<double> gram(const std::vector<float>& x, int64_t tokens, int64_t k, double weight,
                    int64_t threads) {
  ThreadPool pool(threads);
  Matrix<double> h(k, k);
  add_gram(x, tokens, k, weight, h, pool);
  return h;
}

Matrix<double> naive_gram(const std::vector<float>& x, int64_t tokens, int64_t k, double weight) {
  Matrix<double> h(k, k);
  for (int64_t t = 0; t < tokens; ++t)
    for (int64_t i = 0; i < k; ++i)
      for (int64_t j = 0; j < k; ++j)
        h.at(i, j) += weight * static_cast<double>(x[static_cast<size_t>(t * k + i)]) *
                      static_cast<double>(x[static_cast<size_t>(t * k + j)]);
  return h;
}

// A correlated, well-conditioned symmetric positive matrix.
Matrix<double> positive(int64_t n, uint64_t seed) {
  auto h = gram(random_inputs(n + 50, n, seed), n + 50, n, 1.0, 2);
  for (int64_t i = 0; i < n; ++i) h.at(i, i) += 0.1 * static_cast<double>(n);
  return h;
}

class Gram : public testing::TestWithParam<std::pair<int64_t, int64_t>> {};

TEST_P(Gram, EqualsTheSumOfOuterProducts) {
  const auto [tokens, k] = GetParam();
  const auto x = random_inputs(tokens, k, 3);
  const auto fast = gram(x, tokens, k, 0.5, 2);
  const auto slow = naive_gram(x, tokens, k, 0.5);
  // A sum of n products in f32 is off by at most n * 2^-24 * sum |x_i x_j|, and that sum is at most
  // sqrt(h_ii h_jj).
  const double relative = static_cast<double>(std::min<int64_t>(tokens, 2048)) * 0x1p-24;
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < k; ++j) {
      ASSERT_NEAR(fast.at(i, j), slow.at(i, j), relative * std::sqrt(slow.at(i, i) * slow.at(j, j)))
          << i << "," << j;
      ASSERT_EQ(fast.at(i, j), fast.at(j, i));
    }
}
INSTANTIATE_TEST_SUITE_P(Shapes, Gram,
                         testing::Values(std::pair{1, 1}, std::pair{1, 5}, std::pair{7, 33},
                                         std::pair{300, 256}, std::pair{64, 257},
                                         std::pair{2048, 40}, std::pair{5000, 17}));

TEST(GramAccumulation, SameBytesAtAnyThreadCount) {
  const auto x = random_inputs(3000, 600, 4);
  const auto one = gram(x, 3000, 600, 2.0 / 3, 1);
  EXPECT_EQ(one, gram(x, 3000, 600, 2.0 / 3, 2));
  EXPECT_EQ(one, gram(x, 3000, 600, 2.0 / 3, 3));
}

TEST(GramAccumulation, AddsToWhatIsThere) {
  const auto x = random_inputs(100, 20, 5);
  ThreadPool pool(1);
  Matrix<double> h(20, 20);
  add_gram(x, 100, 20, 1.0, h, pool);
  const auto once = h;
  add_gram(x, 100, 20, 1.0, h, pool);
  for (size_t i = 0; i < h.data.size(); ++i) EXPECT_EQ(h.data[i], 2 * once.data[i]);
}

TEST(GramAccumulation, HoldsSquaresThatF32Cannot) {
  for (const float scale : {0x1p-100f, 0x1p100f}) {
    const auto plain = gram(random_inputs(50, 9, 6), 50, 9, 1.0, 1);
    const auto scaled = gram(random_inputs(50, 9, 6, scale), 50, 9, 1.0, 1);
    for (size_t i = 0; i < plain.data.size(); ++i)
      EXPECT_NEAR(scaled.data[i] / (static_cast<double>(scale) * scale), plain.data[i], 1e-4)
          << scale;
  }
}

TEST(GramAccumulation, PassesNonFiniteValuesOn) {
  auto x = random_inputs(10, 4, 7);
  x[5] = std::numeric_limits<float>::infinity();
  const auto h = gram(x, 10, 4, 1.0, 1);
  EXPECT_FALSE(std::isfinite(h.at(1, 1)));
}

class Triangular : public testing::TestWithParam<int64_t> {};

TEST_P(Triangular, FactorTimesItsTransposeIsTheMatrix) {
  const int64_t n = GetParam();
  const auto a = positive(n, 11);
  auto r = a;
  ThreadPool pool(2);
  ASSERT_EQ(factor_upper(r, pool), -1);
  const double bound = 64 * 0x1p-53 * static_cast<double>(n) *
                       a.at(0, 0);  // backward error of Cholesky: about n eps |A|
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      if (j < i) {
        ASSERT_EQ(r.at(i, j), a.at(i, j)) << "the lower triangle was touched";
        continue;
      }
      double sum = 0;
      for (int64_t k = j; k < n; ++k) sum += r.at(i, k) * r.at(j, k);
      ASSERT_NEAR(sum, a.at(i, j), bound) << i << "," << j;
    }
}

TEST_P(Triangular, InverseTimesFactorIsIdentity) {
  const int64_t n = GetParam();
  auto r = positive(n, 12);
  ThreadPool pool(2);
  ASSERT_EQ(factor_upper(r, pool), -1);
  auto u = r;
  invert_upper(u, pool);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < i; ++j)
      ASSERT_EQ(u.at(i, j), r.at(i, j)) << "the lower triangle was touched";
    for (int64_t j = i; j < n; ++j) {
      double sum = 0;
      for (int64_t k = i; k <= j; ++k) sum += u.at(i, k) * r.at(k, j);
      ASSERT_NEAR(sum, i == j ? 1.0 : 0.0, 1e-11) << i << "," << j;
    }
  }
}
INSTANTIATE_TEST_SUITE_P(Sizes, Triangular, testing::Values(1, 2, 31, 33, 128, 129, 300, 515));

TEST(Triangular, SameBytesAtAnyThreadCount) {
  const auto a = positive(700, 13);
  Matrix<double> first;
  for (int64_t threads = 1; threads <= 3; ++threads) {
    ThreadPool pool(threads);
    auto r = a;
    ASSERT_EQ(factor_upper(r, pool), -1);
    invert_upper(r, pool);
    if (threads == 1) first = r;
    EXPECT_EQ(r, first) << threads;
  }
}

TEST(Triangular, IndefiniteMatrixIsReportedAndTheLowerTriangleBringsItBack) {
  auto a = positive(200, 14);
  a.at(150, 150) = -1;
  const auto before = a;
  ThreadPool pool(2);
  EXPECT_EQ(factor_upper(a, pool), 150);
  mirror_lower(a, pool);
  for (int64_t i = 0; i < 200; ++i)
    for (int64_t j = i + 1; j < 200; ++j) ASSERT_EQ(a.at(i, j), before.at(i, j));
}

TEST(Triangular, PermutingMovesRowsAndColumnsTogether) {
  const int64_t n = 137;
  const auto a = positive(n, 15);
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  const CounterRng rng(9);
  for (size_t i = 0; i < order.size(); ++i)
    std::swap(order[i], order[i + rng.u32(i) % (order.size() - i)]);
  for (int64_t threads = 1; threads <= 3; ++threads) {
    ThreadPool pool(threads);
    auto b = a;
    permute_symmetric(b, order, pool);
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j)
        ASSERT_EQ(b.at(i, j), a.at(order[static_cast<size_t>(i)], order[static_cast<size_t>(j)]));
  }
}

// Debian's packages fall back to the reference BLAS at 3 GFLOP/s when OpenBLAS is missing;
// everything would be 20 times slower.
TEST(Blas, IsATunedOne) {
  RecordProperty("numeric_path", numeric_path());
  EXPECT_GT(measure_sgemm_gflops(), 20) << numeric_path() << ": is libopenblas0-pthread installed?";
}

}  // namespace
}  // namespace halftone::linalg
