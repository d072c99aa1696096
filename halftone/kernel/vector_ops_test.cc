// Vector operations against exact math in double, and every instruction set against the scalar one
// bit by bit.
#include "halftone/kernel/vector_ops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>

#include "halftone/kernel/test_problem.h"

namespace halftone::kernel {
namespace {

using testing::tables_here;

constexpr int64_t kLengths[] = {1, 7, 15, 16, 17, 31, 33, 64, 100, 576};

std::vector<float> normals(int64_t n, double scale, uint64_t seed) {
  const CounterRng random(seed);
  std::vector<float> x(static_cast<size_t>(n));
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(scale * random.normal(i));
  return x;
}

// Runs `op` on every instruction set into a buffer with a guard on both sides, misaligned by one
// float; gives back the scalar result.
std::vector<float> run(int64_t n, const std::function<void(const VectorOps&, float*)>& op,
                       std::vector<float> start = {}) {
  std::vector<float> first;
  for (const Kernels* kernels : tables_here()) {
    std::vector<float> y(static_cast<size_t>(n) + 2, 777.0f);
    std::copy(start.begin(), start.end(), y.begin() + 1);
    op(*kernels->vector, y.data() + 1);
    EXPECT_EQ(y.front(), 777.0f) << kernels->name;
    EXPECT_EQ(y.back(), 777.0f) << kernels->name;
    const std::vector<float> inner(y.begin() + 1, y.end() - 1);
    if (first.empty()) first = inner;
    EXPECT_EQ(std::memcmp(first.data(), inner.data(), inner.size() * 4), 0)
        << kernels->name << ", n " << n;
  }
  return first;
}

void expect_near(const std::vector<float>& y, const std::function<double(size_t)>& exact,
                 double relative, double absolute) {
  for (size_t i = 0; i < y.size(); ++i) {
    const double e = exact(i);
    ASSERT_NEAR(y[i], e, relative * std::abs(e) + absolute) << "at " << i << " of " << y.size();
  }
}

// One rounding of float, relative.
constexpr double kEps = 0x1p-24;

TEST(VectorOps, Norms) {
  for (const int64_t n : kLengths) {
    auto x = normals(n, 3, 1);
    for (float& v : x) v += 0.5f;
    const auto weight = normals(n, 1, 2), bias = normals(n, 1, 3);
    double squares = 0, sum = 0, spread = 0;
    for (const float v : x) squares += 1.0 * v * v, sum += v;
    const double mean = sum / static_cast<double>(n),
                 root = std::sqrt(squares / static_cast<double>(n) + 1e-5);
    for (const float v : x) spread += (v - mean) * (v - mean);
    const double deviation = std::sqrt(spread / static_cast<double>(n) + 1e-5);
    const double terms = static_cast<double>(n) / 16 + 8;
    expect_near(
        run(n, [&](const VectorOps& o,
                   float* y) { o.rms_norm(x.data() + 0, weight.data(), 1e-5f, n, y); }),
        [&](size_t i) { return x[i] / root * weight[i]; }, terms * kEps, 0);
    // The mean is known to kEps * |x|, which a small deviation blows up.
    const double shift = terms * kEps * (std::abs(mean) + 3) / deviation * 4;
    for (const float* b : {bias.data(), static_cast<const float*>(nullptr)})
      expect_near(
          run(n, [&](const VectorOps& o,
                     float* y) { o.layer_norm(x.data(), weight.data(), b, 1e-5f, n, y); }),
          [&](size_t i) {
            return (x[i] - mean) / deviation * weight[i] + (b != nullptr ? b[i] : 0.0f);
          },
          terms * kEps, shift + 1e-6);
  }
}

TEST(VectorOps, StepOfAnOnlineSoftmax) {
  for (const int64_t n : kLengths) {
    auto x = normals(n, 10, 4);
    if (n > 20) x[3] = -INFINITY;
    double most = -INFINITY, sum = 0;
    for (const float v : x) most = std::max(most, 0.125 * v);
    for (const float v : x) sum += std::exp(0.125 * v - most);
    const auto y = run(n, [&](const VectorOps& o, float* out) {
      EXPECT_EQ(o.max(x.data(), n), *std::max_element(x.begin(), x.end()));
      const float total = o.exp_sum(x.data(), n, 0.125f, static_cast<float>(most), out);
      EXPECT_NEAR(total, sum, sum * (20 + static_cast<double>(n) / 16) * kEps);
    });
    // exp's argument is off by kEps * |argument| <= 8 * kEps
    expect_near(
        y, [&](size_t i) { return std::exp(0.125 * x[i] - most); }, 20 * kEps, 0);
    if (n > 20) {
      EXPECT_EQ(y[3], 0.0f);
    }
  }
}

TEST(VectorOps, StepOverFarApartValuesIsOneHot) {
  const std::vector<float> x = {-1e30f, 5e3f, 0, -INFINITY};
  EXPECT_THAT(run(4, [&](const VectorOps& o, float* y) { o.exp_sum(x.data(), 4, 1, 5e3f, y); }),
              ::testing::ElementsAre(0, 1, 0, 0));
}

TEST(VectorOps, Activations) {
  std::vector<float> x;
  for (int i = -3200; i <= 3200; ++i) x.push_back(static_cast<float>(i) / 100.0f + 0.001f);
  for (const float v : {0.0f, -0.0f, 1e-8f, -1e-8f, 200.0f, -200.0f, 1e30f, -1e30f}) x.push_back(v);
  const auto n = static_cast<int64_t>(x.size());
  const auto silu = [&](size_t i) { return x[i] / (1 + std::exp(-1.0 * x[i])); };
  // Below -88 the true value is smaller than 1e-36 * |x| and counts as absolute error.
  expect_near(run(n, [&](const VectorOps& o, float* y) { o.silu(x.data(), n, y); }), silu, 8 * kEps,
              1e-7);
  const auto phi = [&](size_t i) { return 0.5 * std::erfc(-1.0 * x[i] * std::sqrt(0.5)); };
  // The fit's 1.2e-7, and e^-z^2 with an argument off by kEps * z^2: 60 * kEps where the value is
  // still 1e-26.
  expect_near(
      run(n, [&](const VectorOps& o, float* y) { o.gelu_erf(x.data(), n, y); }),
      [&](size_t i) { return phi(i) * x[i]; }, 4e-7, 1e-7);
  expect_near(
      run(n, [&](const VectorOps& o, float* y) { o.gelu_tanh(x.data(), n, y); }),
      [&](size_t i) {
        return 0.5 * x[i] *
               (1 + std::tanh(std::sqrt(2 / M_PI) *
                              (x[i] + 0.044715 * std::pow(static_cast<double>(x[i]), 3))));
      },
      3e-7, 1e-6);
  expect_near(
      run(n, [&](const VectorOps& o, float* y) { o.tanh(x.data(), n, y); }),
      [&](size_t i) { return std::tanh(static_cast<double>(x[i])); }, 6e-7, 0);
}

TEST(VectorOps, ExpIsWithinTwoUlp) {
  // exp_sum of one element is exp itself.
  double worst = 0;
  for (int i = -8700; i <= 0; ++i) {
    const float x = static_cast<float>(i) / 100.0f;
    float y = 0;
    kernels_scalar().vector->exp_sum(&x, 1, 1, 0, &y);
    worst = std::max(worst, std::abs(y / std::exp(static_cast<double>(x)) - 1));
  }
  EXPECT_LT(worst, 2 * 0x1p-23);
}

TEST(VectorOps, NaNIsNotLost) {
  const float nan = std::nanf("");
  const auto one = [&](auto member) {
    for (const Kernels* kernels : tables_here()) {
      float y = 0;
      (kernels->vector->*member)(&nan, 1, &y);
      EXPECT_TRUE(std::isnan(y)) << kernels->name;
    }
  };
  one(&VectorOps::silu);
  one(&VectorOps::gelu_erf);
  one(&VectorOps::gelu_tanh);
  one(&VectorOps::tanh);
}

TEST(VectorOps, RopeTurnsPairsHalfAHeadApart) {
  for (const int64_t half : {1, 8, 16, 20, 32, 64}) {
    const auto x = normals(2 * half, 1, 6);
    std::vector<float> c, s;
    for (int64_t i = 0; i < half; ++i) {
      c.push_back(static_cast<float>(std::cos(0.3 * static_cast<double>(i))));
      s.push_back(static_cast<float>(std::sin(0.3 * static_cast<double>(i))));
    }
    const auto y = run(
        2 * half,
        [&](const VectorOps& o, float* out) { o.rope_half(out, c.data(), s.data(), half, out); },
        x);
    const auto h = static_cast<size_t>(half);
    expect_near(
        y,
        [&](size_t i) {
          return i < h ? 1.0 * x[i] * c[i] - 1.0 * x[i + h] * s[i]
                       : 1.0 * x[i] * c[i - h] + 1.0 * x[i - h] * s[i - h];
        },
        0, 1e-6);
  }
}

TEST(VectorOps, LinearAlgebra) {
  for (const int64_t n : kLengths) {
    const auto a = normals(n, 1, 7), b = normals(n, 1, 8);
    expect_near(
        run(n, [&](const VectorOps& o, float* y) { o.add(a.data(), b.data(), n, y); }),
        [&](size_t i) { return a[i] + b[i]; }, 0, 0);
    expect_near(
        run(n, [&](const VectorOps& o, float* y) { o.multiply(a.data(), b.data(), n, y); }),
        [&](size_t i) { return a[i] * b[i]; }, 0, 0);
    expect_near(
        run(n, [&](const VectorOps& o, float* y) { o.scale(a.data(), 3.1f, n, y); }),
        [&](size_t i) { return a[i] * 3.1f; }, 0, 0);
    expect_near(
        run(
            n, [&](const VectorOps& o, float* y) { o.axpy(2.5f, a.data(), n, y); }, b),
        [&](size_t i) { return std::fma(2.5f, a[i], b[i]); }, 0, 0);
  }
}

TEST(VectorOps, MixRoundsOneProductAndOneFma) {
  for (const int64_t n : kLengths) {
    const auto a = normals(n, 1, 7), b = normals(n, 1, 8);
    expect_near(
        run(
            n, [&](const VectorOps& o, float* y) { o.mix(2.5f, a.data(), 0.3f, n, y); }, b),
        [&](size_t i) { return std::fma(2.5f, a[i], 0.3f * b[i]); }, 0, 0);
  }
}

TEST(VectorOps, Bf16RoundsAsBaseDoesAndHasNothingBelowItsLeast) {
  for (const int64_t n : kLengths) {
    auto x = normals(n, 30000, 9);
    for (size_t i = 0; i < x.size(); i += 3) x[i] *= 0x1p-70f;
    const std::vector<float> edges = {0x1p-56f, -0x1p-56f, 0x1.fffffep-57f, 0.0f,
                                      INFINITY, -INFINITY, 1.00390625f,     1.01171875f,
                                      3.4e38f,  NAN,       -0.0f,           0x1p-140f};
    if (n > 20) std::copy(edges.begin(), edges.end(), x.begin() + 2);
    for (const Kernels* kernels : tables_here()) {
      std::vector<uint16_t> h(x.size() + 1, 4242);
      for (const float a : {1.0f, -0.18f}) {
        kernels->vector->to_bf16(x.data(), a, n, h.data());
        EXPECT_EQ(h.back(), 4242);
        for (size_t i = 0; i < x.size(); ++i)
          ASSERT_EQ(h[i], std::abs(a * x[i]) < 0x1p-56f ? 0 : f32_to_bf16(a * x[i]))
              << kernels->name << " " << x[i];
      }
    }
  }
}

// Rows of base-2 scores; the softmax of one goes on where the last piece ended.
TEST(VectorOps, AnOnlineSoftmaxInBf16) {
  constexpr int64_t kRows = 5, kWidth = 96, kLd = 100;
  auto x = normals(kRows * kLd, 12, 4);
  x[3] = -INFINITY;
  x[4] = -1e30f;
  std::vector<uint16_t> first;
  std::vector<float> first_tops, first_sums;
  for (const Kernels* kernels : tables_here()) {
    SCOPED_TRACE(kernels->name);
    const VectorOps& o = *kernels->vector;
    std::vector<float> lanes(kRows * 16, -INFINITY), tops(kRows), sums(kRows);
    std::vector<uint16_t> y(kRows * kLd + 1, 4242);
    // Above nothing is all but the row of minus infinities; above its own largest is none.
    std::fill(x.begin() + 2 * kLd, x.begin() + 2 * kLd + 32, -INFINITY);
    const std::vector<float> nothing(kRows, -INFINITY);
    EXPECT_EQ(o.rows_above(x.data(), kLd, kRows, 32, nothing.data()), 0b11011u);
    EXPECT_EQ(o.rows_above(x.data(), kLd, kRows, kWidth, nothing.data()), 0b11111u);
    for (const auto& [at, n] : {std::pair<int64_t, int64_t>{64, 32}, {0, 64}})
      o.lane_max(x.data() + at, kLd, kRows, n, lanes.data());
    o.lanes_largest(lanes.data(), kRows, tops.data());
    EXPECT_EQ(o.rows_above(x.data(), kLd, kRows, kWidth, tops.data()), 0u);
    auto lower = tops;
    lower[1] = std::nextafter(lower[1], -INFINITY);
    EXPECT_EQ(o.rows_above(x.data(), kLd, kRows, kWidth, lower.data()), 2u);
    std::fill(lanes.begin(), lanes.end(), 0.0f);
    for (const auto& [at, n] : {std::pair<int64_t, int64_t>{0, 32}, {32, 64}})
      o.exp2_bf16(x.data() + at, kLd, kRows, n, tops.data(), y.data() + at, kLd, lanes.data());
    o.lanes_sum(lanes.data(), kRows, sums.data());
    if (first.empty()) {
      first = y;
      first_tops = tops;
      first_sums = sums;
      for (int64_t r = 0; r < kRows; ++r) {
        const float* row = x.data() + r * kLd;
        const float top = *std::max_element(row, row + kWidth);
        EXPECT_EQ(tops[static_cast<size_t>(r)], top);
        double total = 0;
        for (int64_t i = 0; i < kLd; ++i) {
          const uint16_t bits = y[static_cast<size_t>(r * kLd + i)];
          if (i >= kWidth) {
            EXPECT_EQ(bits, 4242);
            continue;
          }
          const double p = bf16_to_f32(bits), exact = std::exp2(1.0 * row[i] - top);
          total += p;
          // half a step of bf16, 2^-8 of the power of two below, and the polynomial's 1.1e-4; x -
          // max was rounded once
          ASSERT_NEAR(p, exact, exact * (0x1p-8 + 1.1e-4 + 60 * kEps) + 0x1p-56) << row[i] - top;
          if (row[i] == top) {
            EXPECT_EQ(p, 1.0);
          }
        }
        EXPECT_NEAR(sums[static_cast<size_t>(r)], total, total * (kWidth / 16.0 + 5) * kEps);
      }
      EXPECT_EQ(y[3], 0);
      EXPECT_EQ(y[4], 0);
    }
    EXPECT_EQ(y, first);
    EXPECT_EQ(tops, first_tops);
    EXPECT_EQ(sums, first_sums);
  }
}

// Errors of the polynomial and of rounding average out over many arguments.
TEST(VectorOps, PowersOfTwoInBf16HaveTheRightSum) {
  constexpr int64_t kCount = 4096;
  std::vector<float> x, lanes(16, 0.0f);
  for (int64_t i = 0; i < kCount; ++i) x.push_back(static_cast<float>(-i) / 512);
  std::vector<uint16_t> y(x.size());
  const float top = 0;
  float sum = 0;
  const VectorOps& o = *best_kernels().vector;
  o.exp2_bf16(x.data(), kCount, 1, kCount, &top, y.data(), kCount, lanes.data());
  o.lanes_sum(lanes.data(), 1, &sum);
  double exact = 0;
  for (const float v : x) exact += std::exp2(1.0 * v);
  EXPECT_NEAR(sum / exact, 1, 1e-4);
}

TEST(VectorOps, HalvesRoundAsBaseDoes) {
  for (const int64_t n : kLengths) {
    auto x = normals(n, 30000, 9);
    for (size_t i = 0; i < x.size(); i += 3) x[i] *= 1e-9f;
    for (const Kernels* kernels : tables_here()) {
      std::vector<uint16_t> h(x.size() + 1, 4242);
      kernels->vector->to_f16(x.data(), n, h.data());
      EXPECT_EQ(h.back(), 4242);
      for (size_t i = 0; i < x.size(); ++i)
        ASSERT_EQ(h[i], f32_to_f16(x[i])) << kernels->name << " " << x[i];
    }
  }
}

}  // namespace
}  // namespace halftone::kernel
