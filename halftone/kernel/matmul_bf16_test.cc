// bf16 products against their definition in matmul.h, on every instruction set bit by bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "halftone/base/tensor.h"
#include "halftone/kernel/test_problem.h"

namespace halftone::kernel {
namespace {

using testing::tables_here;

int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

// x [m][k] and w [n][k] as to_bf16 rounds them, in rows and tiles.
struct Problem {
  int64_t m, n, k;
  int64_t wide = up(k, kBf16Step), tiles = up(n, kTileRows) / kTileRows;
  int64_t ldx = wide + 32;
  HostTensor x{DType::bf16, {m, ldx}}, w{DType::bf16, {tiles * wide * kTileRows}};

  Problem(int64_t rows, int64_t outputs, int64_t inputs, double spread = 1)
      : m(rows), n(outputs), k(inputs) {
    const CounterRng random(static_cast<uint64_t>(m * 1000 + k), static_cast<uint32_t>(n));
    const auto value = [&](int64_t i) {
      const auto at = static_cast<uint64_t>(i);
      const auto y = static_cast<float>(random.normal(at) *
                                        std::exp2(spread * random.normal(at + 100'000'000)));
      uint16_t rounded = 0;
      kernels_scalar().vector->to_bf16(&y, 1.0f, 1, &rounded);
      return rounded;
    };
    for (int64_t r = 0; r < m; ++r)
      for (int64_t c = 0; c < k; ++c) x.as<uint16_t>()[at(r * ldx + c)] = value(r * k + c);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t c = 0; c < k; ++c) weight(r, c) = value(50'000'000 + r * k + c);
  }
  static size_t at(int64_t i) { return static_cast<size_t>(i); }
  uint16_t& weight(int64_t r, int64_t c) {
    return w.as<uint16_t>()[at((r / 16 * wide + c / 2 * 2) * kTileRows + r % 16 * 2 + c % 2)];
  }
  float a(int64_t r, int64_t c) { return bf16_to_f32(x.as<uint16_t>()[at(r * ldx + c)]); }

  std::vector<float> run(const Kernels& kernels, int64_t rows, int64_t from = 0, bool first = true,
                         bool last = true) {
    std::vector<float> y(at(rows * n), 7.0f);
    kernels.matmul_bf16({.w = {w.as<uint16_t>().data(), wide * kTileRows, n},
                         .x = x.as<uint16_t>().data() + from * ldx,
                         .ldx = ldx,
                         .m = rows,
                         .k = wide,
                         .y = y.data(),
                         .ldy = n,
                         .tile_begin = 0,
                         .tile_end = tiles,
                         .first = first,
                         .last = last});
    return y;
  }

  std::vector<float> by_definition() {
    std::vector<float> y;
    for (int64_t r = 0; r < m; ++r)
      for (int64_t c = 0; c < n; ++c) {
        float sum = 0;
        for (int64_t begin = 0; begin < k; begin += kBf16Step) {
          float chain[2] = {0, 0};
          for (int64_t i = begin; i < std::min(k, begin + kBf16Step); ++i)
            chain[i % 2] = std::fma(a(r, i), bf16_to_f32(weight(c, i)), chain[i % 2]);
          sum += chain[0] + chain[1];
        }
        y.push_back(sum);
      }
    return y;
  }
};

TEST(MatmulBf16, IsTheFormulaOnEveryIsa) {
  const int64_t ns[] = {1, 15, 16, 17, 32, 48, 93},
                ks[] = {1, 20, 31, 32, 33, 64, 80, 256, 300, 600};
  int i = 0;
  for (int64_t m = 1; m <= 40; ++m)
    for (const int64_t k : ks) {
      Problem p(m, ns[i++ % 7], k);
      const auto wanted = p.by_definition();
      for (const Kernels* kernels : tables_here()) {
        const auto y = p.run(*kernels, m);
        ASSERT_EQ(std::memcmp(y.data(), wanted.data(), y.size() * 4), 0)
            << kernels->name << " M " << m << " N " << p.n << " K " << k;
      }
    }
}

// Down to where products of the smallest operands lie, 2^-112, and their last bits, 2^-126.
TEST(MatmulBf16, SmallOperandsMakeNothingSubnormal) {
  for (const double spread : {8.0, 20.0, 40.0}) {
    Problem p(19, 40, 96, spread);
    for (auto* t : {&p.x, &p.w})
      for (uint16_t& v : t->as<uint16_t>()) {
        const float y = bf16_to_f32(v);
        kernels_scalar().vector->to_bf16(&y, 0x1p-54f, 1, &v);
      }
    const auto wanted = p.by_definition();
    double least = 1;
    for (const float y : wanted)
      if (y != 0) least = std::min(least, std::abs(static_cast<double>(y)));
    EXPECT_GE(least, 0x1p-126);
    for (const Kernels* kernels : tables_here())
      EXPECT_EQ(std::memcmp(p.run(*kernels, 19).data(), wanted.data(), wanted.size() * 4), 0)
          << kernels->name << " spread " << spread;
  }
}

TEST(MatmulBf16, ProductsInARowShareTheirRegisters) {
  for (const int64_t m : {1, 3, 16, 17, 30, 32}) {
    Problem p(m, 48, 64), other(m, 20, 96);
    for (const Kernels* kernels : tables_here()) {
      const auto a = p.run(*kernels, m), b = other.run(*kernels, m);
      EXPECT_EQ(p.run(*kernels, m, 0, true, false), a) << kernels->name << " M " << m;
      EXPECT_EQ(other.run(*kernels, m, 0, false, false), b) << kernels->name << " M " << m;
      EXPECT_EQ(p.run(*kernels, m, 0, false, true), a) << kernels->name << " M " << m;
    }
  }
}

TEST(MatmulBf16, RowsAndTilesAloneAreThoseOfTheWhole) {
  Problem p(75, 5 * 16 + 3, 130);
  for (const Kernels* kernels : tables_here()) {
    const auto all = p.run(*kernels, 75);
    for (int64_t first = 0, count = 1; first + count <= 75; first += count, ++count) {
      const auto y = p.run(*kernels, count, first);
      ASSERT_EQ(std::memcmp(y.data(), all.data() + first * p.n, y.size() * 4), 0)
          << kernels->name << " rows " << first << " + " << count;
    }
    const int64_t ldy = p.n + 5;
    std::vector<float> y(static_cast<size_t>(75 * ldy), 7.0f);
    kernels->matmul_bf16({.w = {p.w.as<uint16_t>().data(), p.wide * kTileRows, p.n},
                          .x = p.x.as<uint16_t>().data(),
                          .ldx = p.ldx,
                          .m = 75,
                          .k = p.wide,
                          .y = y.data(),
                          .ldy = ldy,
                          .tile_begin = 1,
                          .tile_end = 6});
    for (int64_t r = 0; r < 75; ++r)
      for (int64_t c = 0; c < ldy; ++c)
        ASSERT_EQ(y[static_cast<size_t>(r * ldy + c)],
                  c < 16 || c >= p.n ? 7.0f : all[static_cast<size_t>(r * p.n + c)])
            << kernels->name << " row " << r << " column " << c;
  }
}

}  // namespace
}  // namespace halftone::kernel
