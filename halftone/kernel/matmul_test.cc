// Every kernel of every instruction set against the formulas of matmul.h, computed from plain
// codes.
#include "halftone/kernel/matmul.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "halftone/kernel/test_problem.h"

namespace halftone::kernel {
namespace {

using testing::Case;
using testing::multiply;
using testing::Problem;
using testing::tables_here;

// |error| <= 1e-6 * sum |terms|. Rounding of the chains: int8 has one rounding of s * a and one fma
// per unit, so 2^-24 times (2 + units) at worst, far less in practice; exact mode chains 256
// products.
constexpr double kShare = 1e-6;

void expect_int8(const Problem& p, const Activations& x, const std::vector<float>& y) {
  const Case& c = p.shape;
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t n = 0; n < c.n; ++n) {
      double sum = 0, terms = 0;
      for (int64_t u = 0; u < x.plan().units(); ++u) {
        int64_t integer = 0;
        const int64_t begin = u * x.plan().unit, end = std::min(begin + x.plan().unit, c.k);
        for (int64_t k = begin; k < end; ++k)
          integer += (p.code(n, k) - p.zero(n, k)) * x.code(m, k);
        for (int64_t k = begin; k < end; ++k)
          terms += std::abs(1.0 * (p.code(n, k) - p.zero(n, k)) * x.code(m, k) * p.scale(n, k) *
                            x.scale(m, u));
        sum += static_cast<double>(integer) * p.scale(n, begin) * x.scale(m, u);
      }
      ASSERT_LE(std::abs(y[static_cast<size_t>(m * c.n + n)] - sum), kShare * terms + 1e-30)
          << c << " at m " << m << " n " << n;
    }
  }
}

void expect_float(const Case& c, const std::vector<float>& x, const std::vector<float>& y,
                  const auto& weight) {
  for (int64_t m = 0; m < c.m; ++m) {
    for (int64_t n = 0; n < c.n; ++n) {
      double sum = 0, terms = 0;
      for (int64_t k = 0; k < c.k; ++k) {
        const double term = weight(n, k) * x[static_cast<size_t>(m * c.k + k)];
        sum += term;
        terms += std::abs(term);
      }
      ASSERT_LE(std::abs(y[static_cast<size_t>(m * c.n + n)] - sum), kShare * terms + 1e-30)
          << c << " at m " << m << " n " << n;
    }
  }
}

// K around the line and group widths, N around tiles and joint walks, M around the row and panel
// limits.
std::vector<Case> cases() {
  std::vector<Case> all;
  const int64_t ks[] = {1, 31, 32, 33, 63, 64, 172, 288, 576, 1100};
  const int64_t ns[] = {1, 15, 16, 17, 48, 13 * 16, 100};
  const int64_t ms[] = {1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 25};
  const int64_t groups[] = {32, 64, 96, 128, 0};
  int i = 0;
  for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8}) {
    for (const int64_t m : ms) {
      for (const int64_t k : ks) {
        const Case c{.bits = bits,
                     .n = ns[i % 7],
                     .k = k,
                     .group = groups[i / 3 % 5],
                     .m = m,
                     .zeros = i % 2 == 1,
                     .scales = i % 3 == 0 ? ScaleType::f32 : ScaleType::f16,
                     .block = i % 4 == 0   ? 256
                              : i % 4 == 1 ? 32
                                           : 64};
        all.push_back(c);
        ++i;
      }
    }
    // more rows than one block of M, more K than one block of K
    all.push_back({.bits = bits, .n = 37, .k = 1100, .group = 64, .m = 103, .zeros = true});
    all.push_back({.bits = bits,
                   .n = 33,
                   .k = 600,
                   .group = 96,
                   .m = 200,
                   .scales = ScaleType::f32,
                   .block = 96});
  }
  return all;
}

TEST(Matmul, Int8IsTheFormulaAndTheSameBitsOnEveryIsa) {
  for (const Case& c : cases()) {
    const Problem p(c);
    const TiledWeights w = p.tiled();
    std::vector<float> first;
    for (const Kernels* kernels : tables_here()) {
      SCOPED_TRACE(kernels->name);
      Activations x;
      prepare(x, *kernels, plan_int8(w.view(), c.block), p.x.data(), c.m, c.k);
      const auto y = multiply(*kernels, w, x);
      if (first.empty()) {  // the scalar reference; the others must have its bits
        expect_int8(p, x, y);
        if (HasFatalFailure()) return;
        first = y;
      }
      ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * 4), 0) << c;
    }
  }
}

// Tables: against the tables and sums that were prepared (tiles_test.cc checks those), and with
// nothing but their rounding between them and the numbers that they stand for.
TEST(Matmul, TablesAreTheFormulaAndTheSameBitsOnEveryIsa) {
  std::vector<Case> all;
  const int64_t ks[] = {1, 31, 33, 64, 100, 128, 576, 1100};
  const int64_t ns[] = {1, 15, 17, 48, 13 * 16, 100};
  const int64_t groups[] = {64, 128, 32, 192, 256, 0};
  int i = 0;
  for (int64_t m = 1; m <= 13; ++m)
    for (const int64_t k : ks) {
      all.push_back({.bits = 2,
                     .n = ns[i % 6],
                     .k = k,
                     .group = groups[i / 2 % 6],
                     .m = m,
                     .zeros = i % 2 == 1,
                     .scales = i % 3 == 0 ? ScaleType::f32 : ScaleType::f16,
                     .block = i % 5 == 0   ? 256
                              : i % 5 == 1 ? 32
                              : i % 5 == 2 ? 64
                                           : 128,
                     .pairs = true});
      ++i;
    }
  // more rows than one turn of tables takes
  all.push_back(
      {.bits = 2, .n = 37, .k = 1100, .group = 64, .m = 70, .zeros = true, .pairs = true});
  all.push_back({.bits = 2, .n = 16, .k = 9000, .group = 128, .m = 11, .pairs = true});
  for (const Case& c : all) {
    const Problem p(c);
    const TiledWeights w = p.tiled();
    const ActivationPlan plan = plan_int8(w.view(), c.block);
    ASSERT_TRUE(fits(w.view(), plan));
    std::vector<float> first;
    for (const Kernels* kernels : tables_here()) {
      SCOPED_TRACE(kernels->name);
      Activations x;
      prepare(x, *kernels, plan, p.x.data(), c.m, c.k);
      const auto y = multiply(*kernels, w, x);
      if (first.empty()) {
        for (int64_t m = 0; m < c.m; ++m)
          for (int64_t n = 0; n < c.n; ++n) {
            double sum = 0, terms = 0, truth = 0, rounding = 0;
            for (int64_t u = 0; u < plan.units(); ++u) {
              const int64_t begin = u * plan.unit, end = std::min(begin + plan.unit, c.k);
              const double scale = static_cast<double>(p.scale(n, begin)) * x.scale(m, u);
              int64_t table = 0;
              for (int64_t k = begin; k < end; k += 2)
                table += x.table(m, k / 2, p.code(n, k) + 4 * (k + 1 < c.k ? p.code(n, k + 1) : 0));
              const int64_t offset = int64_t{2 * p.zero(n, begin) - 3} * x.sum(m, u);
              sum += scale * static_cast<double>(256 * table - offset);
              terms +=
                  std::abs(scale) * static_cast<double>(256 * std::abs(table) + std::abs(offset));
              for (int64_t k = begin; k < end; ++k)
                truth += static_cast<double>(p.scale(n, k)) * (p.code(n, k) - p.zero(n, k)) *
                         p.x[static_cast<size_t>(m * c.k + k)];
              // Half a step of 256 for a pair; and of each k half a unit of X, twice, 2 z - 3 and
              // 2 q - 3 at most 3 in size.
              rounding += std::abs(scale) *
                          static_cast<double>((end - begin + 1) / 2 * 128 + (end - begin) * 3);
            }
            const double got = y[static_cast<size_t>(m * c.n + n)];
            ASSERT_LE(std::abs(got - sum), kShare * terms + 1e-30) << c << " m " << m << " n " << n;
            ASSERT_LE(std::abs(got - truth), rounding + kShare * terms + 1e-30)
                << c << " m " << m << " n " << n;
          }
        first = y;
      }
      ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * 4), 0) << c;
    }
  }
}

// As docs/kernels.md gives it: random codes, normal activations.
TEST(Matmul, TablesLoseLittleMoreThanInt8) {
  const Case c{.bits = 2, .n = 64, .k = 4096, .group = 128, .m = 8};
  Problem p(c);
  CounterRng random(5);
  for (size_t i = 0; i < p.x.size(); ++i) p.x[i] = static_cast<float>(random.normal(i));
  const auto exact = multiply(kernels_scalar(), p.tiled(), plan_float(p.tiled().view()), p.x, c.m);
  const auto error = [&](bool pairs, int64_t block) {
    p.spec.pairs = pairs;
    const TiledWeights w = p.tiled();
    const auto y = multiply(kernels_scalar(), w, plan_int8(w.view(), block), p.x, c.m);
    double sum = 0, of = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      sum += std::pow(static_cast<double>(y[i]) - static_cast<double>(exact[i]), 2);
      of += std::pow(static_cast<double>(exact[i]), 2);
    }
    return std::sqrt(sum / of);
  };
  for (const int64_t block : {64, 128}) {
    const double int8 = error(false, block), tables = error(true, block);
    std::printf("[ rel rms  ] block %ld: int8 %.2e, tables %.2e\n", static_cast<long>(block), int8,
                tables);
    EXPECT_GT(tables, int8);
    EXPECT_LT(tables, 1.5 * int8);
    EXPECT_LT(tables, 0.01);
  }
}

// Two-level scales as tiles.h says, from the plain ones.
struct TwoLevels {
  std::vector<float> scale;  // [N][groups of super]
  std::vector<int> u;        // [N][groups]
  int64_t supers;
  explicit TwoLevels(const Problem& p) {
    const Case& c = p.shape;
    const int64_t per = c.super / c.group;
    supers = (p.groups + per - 1) / per;
    for (int64_t n = 0; n < c.n; ++n)
      for (int64_t s = 0; s < supers; ++s) {
        const auto* from = p.scales.data() + n * p.groups + s * per;
        const int64_t count = std::min(per, p.groups - s * per);
        float top = *std::max_element(from, from + count) * (256.0f / 255.0f);
        if (c.scales == ScaleType::f16) top = f16_to_f32(f32_to_f16(top));
        scale.push_back(top);
        for (int64_t i = 0; i < count; ++i)
          u.push_back(top > 0
                          ? std::min(255, static_cast<int>(std::nearbyint(from[i] * 256.0f / top)))
                          : 0);
      }
  }
};

TEST(Matmul, TwoLevelScalesAreTheFormulaAndTheSameBitsOnEveryIsa) {
  std::vector<Case> all;
  const int64_t ks[] = {64, 65, 96, 172, 288, 576, 1100, 2100};
  const int64_t ns[] = {1, 16, 17, 48, 100, 13 * 16};
  int i = 0;
  for (const int bits : {1, 2, 3, 4})
    for (const int64_t m : {1, 2, 3, 5, 8, 9, 13, 25, 40, 103}) {
      for (const int64_t k : ks) {
        const int64_t group = i % 3 == 0 ? 64 : 32;
        all.push_back({.bits = bits,
                       .n = ns[i % 6],
                       .k = k,
                       .group = group,
                       .m = m,
                       .scales = i % 4 == 0 ? ScaleType::f32 : ScaleType::f16,
                       .super = i % 5 == 0   ? 256
                                : i % 5 == 1 ? 192
                                : i % 5 == 2 ? 128
                                             : 2 * group});
        ++i;
      }
    }
  for (const Case& c : all) {
    const Problem p(c);
    const TiledWeights w = p.tiled();
    const TwoLevels two(p);
    const int64_t per = c.super / c.group;
    std::vector<float> first;
    for (const Kernels* kernels : tables_here()) {
      SCOPED_TRACE(kernels->name);
      // a scale for each group, or one for each row
      const ActivationPlan plan = plan_int8(w.view(), c.m % 2 == 0 ? kWholeRow : 64);
      ASSERT_TRUE(fits(w.view(), plan));
      Activations x;
      prepare(x, *kernels, plan, p.x.data(), c.m, c.k);
      const auto y = multiply(*kernels, w, x);
      if (first.empty()) {
        for (int64_t m = 0; m < c.m; ++m)
          for (int64_t n = 0; n < c.n; ++n) {
            double sum = 0, terms = 0;
            for (int64_t s = 0; s < two.supers; ++s) {
              int64_t integer = 0;
              const double scale = two.scale[static_cast<size_t>(n * two.supers + s)] / 256.0 *
                                   static_cast<double>(x.scale(m, s * c.super / kTileCols));
              for (int64_t k = s * c.super; k < std::min(c.k, (s + 1) * c.super); ++k) {
                const int64_t term = two.u[static_cast<size_t>(n * p.groups + k / c.group)] *
                                     (p.code(n, k) - p.zero(n, k)) * x.code(m, k);
                integer += term;
                terms += std::abs(static_cast<double>(term) * scale);
              }
              sum += static_cast<double>(integer) * scale;
            }
            ASSERT_LE(std::abs(y[static_cast<size_t>(m * c.n + n)] - sum), kShare * terms + 1e-30)
                << c << " at m " << m << " n " << n << " of " << per;
          }
        first = y;
      }
      ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * 4), 0) << c;
    }
  }
}

TEST(Matmul, TwoLevelSumsAreExactAtTheirLargest) {
  for (const int bits : {2, 3, 4})
    for (const int64_t m : {1, 2, 4, 13})
      for (const int code : {0, (1 << bits) - 1})
        for (const float sign : {1.0f, -1.0f}) {
          Problem p({.bits = bits, .n = 33, .k = 512, .group = 32, .m = m, .super = 256});
          std::fill(p.codes.begin(), p.codes.end(), static_cast<uint8_t>(code));
          std::fill(p.scales.begin(), p.scales.end(), 255.0f);  // u = 255, scale 256
          std::fill(p.x.begin(), p.x.end(), sign * 127.0f);
          const TiledWeights w = p.tiled();
          const float expected =
              sign * 127.0f * 512 * 255.0f * static_cast<float>(code - p.spec.zero);
          for (const Kernels* kernels : tables_here())
            for (const float y : multiply(*kernels, w, plan_int8(w.view(), 256), p.x, m))
              ASSERT_EQ(y, expected) << kernels->name << " W" << bits << " M" << m;
        }
}

// One scale for each token, or one for all: W8A8 and what static quantization wants.
TEST(Matmul, OneScaleATokenOrOneForAll) {
  for (const int bits : {4, 8})
    for (const int64_t m : {1, 4, 9, 20}) {
      const Case c{.bits = bits, .n = 40, .k = 600, .group = 0, .m = m};
      Problem p(c);
      p.x[3] = 1e9f;  // far beyond a fixed scale
      p.x[4] = -1e9f;
      const TiledWeights w = p.tiled();
      for (const float fixed : {0.0f, 0.03f}) {
        ActivationPlan plan = plan_int8(w.view(), kWholeRow);
        EXPECT_EQ(plan.block, w.view().padded_cols);
        plan.fixed = fixed;
        std::vector<float> first;
        for (const Kernels* kernels : tables_here()) {
          Activations x;
          prepare(x, *kernels, plan, p.x.data(), m, c.k);
          for (int64_t i = 0; i < m; ++i) {
            float most = 0;
            for (int64_t k = 0; k < c.k; ++k)
              most = std::max(most, std::abs(p.x[static_cast<size_t>(i * c.k + k)]));
            for (int64_t u = 0; u < plan.units(); ++u)
              ASSERT_EQ(x.scale(i, u), fixed > 0 ? fixed : most / 127.0f);
            const float inverse = fixed > 0 ? 1.0f / fixed : 127.0f / most;
            for (int64_t k = 0; k < c.k; ++k)
              ASSERT_EQ(x.code(i, k),
                        std::clamp(std::nearbyint(p.x[static_cast<size_t>(i * c.k + k)] * inverse),
                                   -127.0f, 127.0f))
                  << kernels->name << " k " << k;
          }
          const auto y = multiply(*kernels, w, x);
          if (first.empty()) {
            expect_int8(p, x, y);
            if (HasFatalFailure()) return;
            first = y;
          }
          ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * 4), 0) << kernels->name;
        }
      }
    }
}

TEST(Matmul, ExactIsTheFormulaAndTheSameBitsOnEveryIsa) {
  for (const Case& c : cases()) {
    const Problem p(c);
    const TiledWeights w = p.tiled();
    std::vector<float> first;
    for (const Kernels* kernels : tables_here()) {
      SCOPED_TRACE(kernels->name);
      const auto y = multiply(*kernels, w, plan_float(w.view()), p.x, c.m);
      if (first.empty()) {
        expect_float(c, p.x, y, [&](int64_t n, int64_t k) {
          return static_cast<double>(p.scale(n, k)) * (p.code(n, k) - p.zero(n, k));
        });
        if (HasFatalFailure()) return;
        first = y;
      }
      ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * 4), 0) << c;
    }
  }
}

// Values of a code book as exact mode and as integer products take them.
TEST(Matmul, CodeBooksAreTheFormulaAndTheSameBitsOnEveryIsa) {
  // "nf4": 16 unequal values of both signs; "fp4": e2m1, multiples of one half
  const std::vector<float> nf4 = {-1.0f, -0.7f, -0.53f, -0.39f, -0.28f, -0.18f, -0.09f, 0.0f,
                                  0.08f, 0.16f, 0.25f,  0.34f,  0.44f,  0.56f,  0.72f,  1.0f};
  const std::vector<float> fp4 = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                  -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
  for (const auto* book : {&nf4, &fp4})
    for (const int64_t m : {1, 2, 3, 4, 7, 8, 9, 13, 30})
      for (const int64_t k : {1, 33, 64, 100, 576, 1100}) {
        const Case c{.bits = 4, .n = 7 * 16 + 5, .k = k, .group = 64, .m = m};
        Problem p(c);
        p.spec.book = *book;
        const TiledWeights w = p.tiled();
        // as integer products take them: exactly for fp4, to 1/127 of the largest for nf4
        const double step = book == &fp4 ? 0.5 : 1.0 / 127;
        const auto level = [&](int code) {
          return static_cast<int>(std::nearbyint((*book)[static_cast<size_t>(code)] / step));
        };
        std::vector<float> first, first_exact;
        for (const Kernels* kernels : tables_here()) {
          SCOPED_TRACE(kernels->name);
          const auto exact = multiply(*kernels, w, plan_float(w.view()), p.x, m);
          Activations x;
          prepare(x, *kernels, plan_int8(w.view(), 64), p.x.data(), m, k);
          const auto y = multiply(*kernels, w, x);
          if (first.empty()) {
            expect_float(c, p.x, exact, [&](int64_t n, int64_t i) {
              return static_cast<double>(p.scale(n, i)) *
                     (*book)[static_cast<size_t>(p.code(n, i))];
            });
            std::vector<float> decoded(static_cast<size_t>(m * k));
            for (int64_t i = 0; i < m * k; ++i)
              decoded[static_cast<size_t>(i)] = x.value(i / k, i % k);
            expect_float(c, decoded, y, [&](int64_t n, int64_t i) {
              return p.scale(n, i) * step * level(p.code(n, i));
            });
            if (HasFatalFailure()) return;
            first = y;
            first_exact = exact;
          }
          ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * 4), 0) << c;
          ASSERT_EQ(std::memcmp(first_exact.data(), exact.data(), exact.size() * 4), 0) << c;
        }
        for (int64_t n = 0; n < c.n; n += 17)
          for (int64_t i = 0; i < k; i += 5)
            ASSERT_EQ(w.value(n, i), p.scale(n, i) * (*book)[static_cast<size_t>(p.code(n, i))]);
      }
}

TEST(Matmul, DenseIsTheFormulaAndTheSameBitsOnEveryIsa) {
  for (const Store store : {Store::f32, Store::f16, Store::bf16}) {
    for (const int64_t m : {1, 2, 3, 4, 6, 8, 9, 12, 14, 19, 100}) {
      for (const int64_t k : {1, 7, 64, 255, 256, 257, 700}) {
        const Case c{.n = k % 2 == 1 ? 93 : 7 * 16, .k = k, .m = m};
        const CounterRng random(static_cast<uint64_t>(k));
        std::vector<float> values(static_cast<size_t>(c.n * k)), x(static_cast<size_t>(m * k));
        for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(random.normal(i));
        for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(random.normal(i + 1000000));
        std::vector<uint16_t> halves(values.size());
        for (size_t i = 0; i < values.size(); ++i) {
          if (store == Store::f16) values[i] = f16_to_f32(halves[i] = f32_to_f16(values[i]));
          if (store == Store::bf16) values[i] = bf16_to_f32(halves[i] = f32_to_bf16(values[i]));
        }
        const auto* bytes = store == Store::f32 ? reinterpret_cast<const std::byte*>(values.data())
                                                : reinterpret_cast<const std::byte*>(halves.data());
        const TiledWeights w =
            TiledWeights::from_dense(c.n, k, store, [&](int64_t n, std::span<std::byte> out) {
              std::memcpy(out.data(), bytes + n * static_cast<int64_t>(out.size()), out.size());
            });
        ASSERT_EQ(w.bytes(), dense_tiled_bytes(c.n, k, store));
        std::vector<float> first;
        for (const Kernels* kernels : tables_here()) {
          SCOPED_TRACE(kernels->name);
          const auto y = multiply(*kernels, w, plan_float(w.view()), x, m);
          if (first.empty()) {
            expect_float(c, x, y, [&](int64_t n, int64_t i) {
              return static_cast<double>(values[static_cast<size_t>(n * k + i)]);
            });
            if (HasFatalFailure()) return;
            first = y;
          }
          ASSERT_EQ(std::memcmp(first.data(), y.data(), y.size() * 4), 0) << c;
        }
      }
    }
  }
}

// The int16 sums of AVX2 hold just what the codes can make; the largest of both signs must come out
// exactly.
TEST(Matmul, LargestSumsAreExact) {
  for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8}) {
    for (const bool zero_points : {false, true}) {
      for (const int64_t m : {1, 2, 4, 13}) {
        for (const float sign : {1.0f, -1.0f}) {
          const Case c{.bits = bits,
                       .n = 33,
                       .k = 512,
                       .group = 256,
                       .m = m,
                       .zeros = zero_points,
                       .block = 256};
          Problem p(c);
          const int top = (1 << bits) - 1;
          std::fill(p.codes.begin(), p.codes.end(), static_cast<uint8_t>(top));
          std::fill(p.zeros.begin(), p.zeros.end(), static_cast<uint8_t>(0));
          std::fill(p.scales.begin(), p.scales.end(), 1.0f);
          std::fill(p.x.begin(), p.x.end(), sign * 127.0f);
          const TiledWeights w = p.tiled();
          const float expected =
              sign * 127.0f * 512 * static_cast<float>(zero_points ? top : top - p.spec.zero);
          for (const Kernels* kernels : tables_here()) {
            for (const float y : multiply(*kernels, w, plan_int8(w.view(), 256), p.x, m))
              ASSERT_EQ(y, expected) << kernels->name << " " << c;
            // and the largest zero-points against codes of 0
            if (zero_points) {
              Problem q = p;
              std::fill(q.codes.begin(), q.codes.end(), static_cast<uint8_t>(0));
              std::fill(q.zeros.begin(), q.zeros.end(), static_cast<uint8_t>(top));
              const TiledWeights v = q.tiled();
              for (const float y : multiply(*kernels, v, plan_int8(v.view(), 256), q.x, m))
                ASSERT_EQ(y, -expected) << kernels->name;
            }
          }
        }
      }
    }
  }
}

// All that two 16-bit sums of bytes can come to, in units of 256 k, of both signs; and the widest
// zero-points.
TEST(Matmul, LargestSumsOfTablesAreExact) {
  for (const int64_t m : {1, 2, 4, 13})
    for (const float sign : {1.0f, -1.0f})
      for (const int code : {0, 3})
        for (const int zero : {0, 2, 3, 4}) {
          Problem p(
              {.bits = 2, .n = 33, .k = 512, .group = 256, .m = m, .zeros = true, .pairs = true});
          std::fill(p.codes.begin(), p.codes.end(), static_cast<uint8_t>(code));
          std::fill(p.zeros.begin(), p.zeros.end(), static_cast<uint8_t>(zero));
          std::fill(p.scales.begin(), p.scales.end(), 1.0f);
          std::fill(p.x.begin(), p.x.end(), sign * 127.0f);
          const TiledWeights w = p.tiled();
          // X = 5418, and 6 X + 128 over 256 rounds to 127 or, with the other sign, -127
          const double table = (code == 3) == (sign > 0) ? 127 : -127,
                       d = 256 * 256 * (table * 128 / 256) -
                           (2 * zero - 3) * 256 * (5418.0 * static_cast<double>(sign)),
                       truth = 512.0 * 127 * static_cast<double>(sign) * (code - zero);
          const float expected = 2 * (static_cast<float>(d) * (127.0f / 10836.0f));
          for (const Kernels* kernels : tables_here())
            for (const float y : multiply(*kernels, w, plan_int8(w.view(), 256), p.x, m)) {
              ASSERT_FLOAT_EQ(y, expected) << kernels->name << " code " << code << " z " << zero;
              ASSERT_NEAR(y, truth, 512 * 127 * 3 / 250.0 + 1e-6 * std::abs(truth));
            }
        }
}

TEST(Matmul, RowsOfABatchEqualThemselvesAlone) {
  for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8}) {
    const Case c{.bits = bits, .n = 5 * 16 + 3, .k = 576, .group = 64, .m = 27, .zeros = true};
    Problem p(c);
    const TiledWeights plain = p.tiled();
    p.spec.pairs = bits == 2;
    const TiledWeights pairs = p.tiled();
    for (const Kernels* kernels : tables_here()) {
      for (const ActivationPlan& plan :
           {plan_int8(plain.view(), 64), plan_int8(pairs.view(), 64), plan_float(plain.view())}) {
        const TiledWeights& w = plan.pairs ? pairs : plain;
        const auto all = multiply(*kernels, w, plan, p.x, c.m);
        for (int64_t first = 0, count = 1; first + count <= c.m; first += count, ++count) {
          const std::vector<float> some(p.x.begin() + first * c.k,
                                        p.x.begin() + (first + count) * c.k);
          const auto y = multiply(*kernels, w, plan, some, count);
          ASSERT_EQ(std::memcmp(y.data(), all.data() + first * c.n, y.size() * 4), 0)
              << kernels->name << " rows " << first << " + " << count;
        }
      }
    }
  }
}

TEST(Matmul, SameBitsWithOneTwoAndThreeThreads) {
  for (const int64_t m : {1, 3, 40})
    for (const bool pairs : {false, true}) {
      const Case c{
          .bits = pairs ? 2 : 4, .n = 13 * 16 + 5, .k = 1536, .group = 64, .m = m, .pairs = pairs};
      const Problem p(c);
      for (const Kernels* kernels : tables_here()) {
        std::vector<float> first;
        for (const int64_t threads : {1, 2, 3}) {
          ThreadPool pool(threads);
          const TiledWeights w = p.tiled(&pool);
          std::vector<ActivationPlan> plans = {plan_int8(w.view(), 64)};
          if (!pairs) plans.push_back(plan_float(w.view()));
          for (const ActivationPlan& plan : plans) {
            Activations x;
            prepare(x, *kernels, plan, p.x.data(), m, c.k, &pool);
            std::vector<float> y(static_cast<size_t>(m * c.n));
            matmul(*kernels, w, x, y.data(), c.n, pool);
            if (plan.int8) {
              if (first.empty()) first = y;
              EXPECT_EQ(std::memcmp(first.data(), y.data(), y.size() * 4), 0)
                  << kernels->name << " " << threads << " threads";
            } else {
              EXPECT_EQ(std::memcmp(multiply(*kernels, w, x).data(), y.data(), y.size() * 4), 0)
                  << kernels->name << " " << threads;
            }
          }
        }
      }
    }
}

TEST(Matmul, TouchesOnlyItsColumnsAndTakesAnyAlignmentAndStride) {
  const Case c{.bits = 4, .n = 3 * 16 + 5, .k = 100, .group = 32, .m = 14};
  const Problem p(c);
  const TiledWeights w = p.tiled();
  for (const Kernels* kernels : tables_here()) {
    for (const int64_t m : {1, 6, 14}) {
      for (const bool int8 : {false, true}) {
        const ActivationPlan plan = int8 ? plan_int8(w.view(), 32) : plan_float(w.view());
        const int64_t ldx = c.k + 3, ldy = c.n + 7;
        std::vector<float> x(static_cast<size_t>(m * ldx + 1), std::nanf("")),
            y(static_cast<size_t>(m * ldy + 1), 7.0f);
        for (int64_t i = 0; i < m; ++i)
          std::copy_n(p.x.data() + i * c.k, c.k, x.data() + 1 + i * ldx);
        Activations prepared;
        prepare(prepared, *kernels, plan, x.data() + 1, m, ldx);
        matmul(*kernels, w, prepared, y.data() + 1, ldy, 1, 4);
        const auto expected = multiply(*kernels, w, plan, {p.x.begin(), p.x.begin() + m * c.k}, m);
        for (int64_t i = 0; i < m; ++i)
          for (int64_t n = 0; n < ldy; ++n)
            ASSERT_EQ(y[static_cast<size_t>(1 + i * ldy + n)],
                      n < 16 || n >= c.n ? 7.0f : expected[static_cast<size_t>(i * c.n + n)])
                << kernels->name << " m " << i << " n " << n;
      }
    }
  }
}

TEST(Matmul, KnowsWhichActivationsFit) {
  const Problem p({.bits = 4, .n = 16, .k = 576, .group = 64});
  const TiledWeights w = p.tiled();
  EXPECT_TRUE(fits(w.view(), plan_int8(w.view(), 64)));
  EXPECT_TRUE(fits(w.view(), plan_int8(w.view(), 32)));
  EXPECT_TRUE(fits(w.view(), plan_float(w.view())));
  EXPECT_EQ(plan_int8(w.view(), 128).unit, 64);
  EXPECT_EQ(plan_int8(w.view(), 128).block, 128);
  const TiledWeights other = Problem({.bits = 4, .n = 16, .k = 640, .group = 64}).tiled();
  EXPECT_FALSE(fits(w.view(), plan_float(other.view())));
  const TiledWeights narrow = Problem({.bits = 4, .n = 16, .k = 576, .group = 32}).tiled();
  EXPECT_FALSE(fits(narrow.view(), plan_int8(w.view(), 64)));
  EXPECT_TRUE(fits(w.view(), plan_int8(narrow.view(), 64)));  // sums of 32 serve a group of 64
  Case two{.bits = 2, .n = 16, .k = 576, .group = 64};
  const TiledWeights plain = Problem(two).tiled();
  two.pairs = true;
  const TiledWeights pairs = Problem(two).tiled();
  EXPECT_TRUE(fits(pairs.view(), plan_int8(pairs.view(), 64)));
  EXPECT_FALSE(fits(plain.view(), plan_int8(pairs.view(), 64)));
  EXPECT_FALSE(fits(pairs.view(), plan_int8(plain.view(), 64)));
}

}  // namespace
}  // namespace halftone::kernel
