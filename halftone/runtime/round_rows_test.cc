#include "halftone/runtime/round_rows.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "halftone/base/half.h"
#include "halftone/base/rng.h"
#include "halftone/format/format.h"

namespace halftone::runtime {
namespace {

// Rows of values as a head may have them, and the ones that are hard: middles between two codes, and
// their neighbours.
Matrix<float> values_of(int64_t kind, int64_t cols) {
  Matrix<float> w(40, cols);
  const CounterRng rng(static_cast<uint64_t>(kind + 1), static_cast<uint32_t>(cols));
  for (int64_t n = 0; n < w.rows; ++n) {
    const double size = std::exp2(rng.uniform(static_cast<uint64_t>(n) + (1u << 20)) * 40 - 30);
    for (int64_t k = 0; k < cols; ++k) {
      const auto at = static_cast<uint64_t>(n * cols + k);
      const double r = rng.uniform(at) * 2 - 1;
      double x = r * size;
      if (kind == 1) {  // the largest first, then whole and half steps of it
        const double step = std::ldexp(2.0, -8) * size;
        x = k % 32 == 0 ? 127.5 * step : std::nearbyint(r * 255) / 2 * step;
        if (k % 3 == 1) x = std::nextafter(static_cast<float>(x), 1e9f);
        if (k % 3 == 2) x = std::nextafter(static_cast<float>(x), -1e9f);
      }
      if (kind == 2) x = k / 32 % 2 == 0 ? 0 : std::ldexp(r, -149 + static_cast<int>(at % 60));
      if (kind == 3) x = r * 3e38;
      w.at(n, k) = static_cast<float>(x);
    }
  }
  return w;
}

TEST(RoundRows, GivesTheNearestCodesToTheBit) {
  for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
    for (const int64_t kind : {0, 1, 2, 3})
      for (const int64_t cols : {1, 31, 32, 64, 100, 576})
        for (const int64_t bits : {4, 8}) {
          if (dtype == DType::f16 && kind == 3) continue;
          SCOPED_TRACE(std::string(dtype_name(dtype)) + " kind " + std::to_string(kind) + " " +
                       std::to_string(cols) + " columns, " + std::to_string(bits) + " bits");
          Matrix<float> w = values_of(kind, cols);
          HostTensor wide(DType::f32, {w.rows, cols});
          std::copy(w.data.begin(), w.data.end(), wide.as<float>().begin());
          const HostTensor stored = dtype == DType::f32 ? std::move(wide) : from_f32(wide, dtype);
          const HostTensor again = to_f32(stored);
          const auto seen = again.as<float>();
          w.data.assign(seen.begin(), seen.end());
          const format::Codes wanted =
              format::quantize_nearest(w, {.bits = bits, .group = kRoundedGroup});
          std::vector<uint8_t> codes(static_cast<size_t>(cols));
          std::vector<float> scales(static_cast<size_t>(wanted.groups()));
          const auto row_bytes = static_cast<size_t>(cols * dtype_bytes(dtype));
          for (int64_t n = 0; n < w.rows; ++n) {
            ASSERT_TRUE(round_row(
                dtype, stored.bytes().subspan(static_cast<size_t>(n) * row_bytes, row_bytes), bits,
                codes, scales));
            for (int64_t k = 0; k < cols; ++k)
              ASSERT_EQ(codes[static_cast<size_t>(k)],
                        wanted.codes[static_cast<size_t>(n * cols + k)])
                  << n << " " << k;
            for (int64_t g = 0; g < wanted.groups(); ++g)
              ASSERT_EQ(scales[static_cast<size_t>(g)], wanted.scale(n, g));
          }
        }
}

TEST(RoundRows, RefusesWhatIsNotFinite) {
  std::vector<uint8_t> codes(40);
  std::vector<float> scales(2);
  for (const float bad : {std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity(), std::nanf("")})
    for (const DType dtype : {DType::f32, DType::f16, DType::bf16})
      for (const size_t at : {size_t{0}, size_t{31}, size_t{39}}) {
        HostTensor row(DType::f32, {40});
        row.as<float>()[at] = bad;
        const HostTensor stored = dtype == DType::f32 ? std::move(row) : from_f32(row, dtype);
        EXPECT_FALSE(round_row(dtype, stored.bytes(), 8, codes, scales));
      }
}

}  // namespace
}  // namespace halftone::runtime
