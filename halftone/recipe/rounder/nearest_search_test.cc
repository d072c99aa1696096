#include <gtest/gtest.h>

#include <cmath>

#include "halftone/base/rng.h"
#include "halftone/recipe/rounder.h"

namespace halftone::rounder {
Entry nearest_search();
namespace {

using format::Format;
using format::Granularity;

Matrix<float> random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  const CounterRng rng(seed);
  Matrix<float> w(rows, cols);
  for (size_t i = 0; i < w.data.size(); ++i) w.data[i] = static_cast<float>(rng.normal(i));
  return w;
}

Result round(const Matrix<float>& w, const Format& f, const Json& options = Json::object(),
             recipe::InputStatistics statistics = {}, int64_t threads = 1) {
  const Problem problem{.name = "a", .weight = &w, .format = f};
  Context context;
  context.threads = threads;
  return nearest_search()
      .run(std::span(&problem, 1), std::move(statistics), options, context)
      .at(0);
}

TEST(NearestSearch, GainsMoreTheFewerTheBits) {
  const auto w = random_matrix(64, 256, 1);
  double last = 0;
  for (const int64_t bits : {2, 3, 4}) {
    const auto q = round(w, {.bits = bits, .group = 64});
    EXPECT_LT(q.ratio(), bits == 2 ? 0.6 : bits == 3 ? 0.8 : 0.9) << bits;
    EXPECT_GT(q.ratio(), last);
    last = q.ratio();
  }
}

TEST(NearestSearch, IsNeverWorseThanNearestInAnyGroup) {
  for (const auto& grid : format::kind_of(Format{}).grids)
    for (const bool symmetric : {true, false})
      for (const int64_t bits : {2, 3, 4, 8}) {
        const Format f{.bits = bits, .group = 48, .symmetric = symmetric, .grid = grid};
        if (!format::kind_of(f).clash(f).empty()) continue;
        auto w = random_matrix(20, 100, 2);
        for (int64_t k = 0; k < 48; ++k) w.at(3, k) = 0;
        const auto a = round(w, f).codes.dequantize(),
                   b = format::quantize_nearest(w, f).dequantize();
        for (int64_t n = 0; n < 20; ++n)
          for (int64_t g = 0; g < 3; ++g) {
            double searched = 0, nearest = 0;
            for (int64_t k = g * 48; k < std::min<int64_t>(100, g * 48 + 48); ++k) {
              searched +=
                  std::pow(static_cast<double>(a.at(n, k)) - static_cast<double>(w.at(n, k)), 2);
              nearest +=
                  std::pow(static_cast<double>(b.at(n, k)) - static_cast<double>(w.at(n, k)), 2);
            }
            EXPECT_LE(searched, nearest * (1 + 1e-12))
                << f.label() << " " << grid << " row " << n << " group " << g;
          }
      }
}

// Against a far finer search over scales, in plain double.
TEST(NearestSearch, FindsTheBestScaleWithinAPercent) {
  const auto w = random_matrix(30, 64, 3);
  for (const int64_t bits : {2, 3, 4}) {
    const Format f{
        .bits = bits, .granularity = Granularity::row, .group = 0, .scale_dtype = DType::f32};
    const auto q = round(w, f);
    const auto start = format::quantize_nearest(w, f);
    double found = 0, best_sum = 0;
    const auto values = q.codes.dequantize();
    for (int64_t n = 0; n < 30; ++n) {
      double best = 1e300;
      for (int i = 0; i < 5000; ++i) {
        const format::Grid grid{
            .scale = start.scale(n, 0) * static_cast<float>(0.4 + 0.7 * i / 5000),
            .zero = start.zero(n, 0),
            .max_code = (1 << bits) - 1};
        double sum = 0;
        for (const float x : w.row(n))
          sum += std::pow(static_cast<double>(grid.value(grid.code(static_cast<double>(x)))) -
                              static_cast<double>(x),
                          2);
        best = std::min(best, sum);
      }
      best_sum += best;
      for (int64_t k = 0; k < 64; ++k)
        found +=
            std::pow(static_cast<double>(values.at(n, k)) - static_cast<double>(w.at(n, k)), 2);
    }
    EXPECT_LT(found, 1.01 * best_sum) << bits;
    EXPECT_NEAR(q.error, found, 1e-9 * found);
  }
}

TEST(NearestSearch, WeighsColumnsByTheirInputs) {
  const auto w = random_matrix(40, 128, 4);
  recipe::InputStatistics statistics;
  const CounterRng rng(5);
  for (size_t k = 0; k < 128; ++k)
    statistics.square.push_back(static_cast<float>(std::exp(2 * rng.normal(k))));
  const Format f{.bits = 3, .group = 32};
  const auto weighted = round(w, f, {{"importance", "input"}}, statistics);
  const auto plain = round(w, f).codes.dequantize();
  double plain_error = 0;
  for (int64_t n = 0; n < 40; ++n)
    for (int64_t k = 0; k < 128; ++k)
      plain_error +=
          static_cast<double>(statistics.square[static_cast<size_t>(k)]) *
          std::pow(static_cast<double>(plain.at(n, k)) - static_cast<double>(w.at(n, k)), 2);
  EXPECT_LT(weighted.error, 0.9 * plain_error);
  EXPECT_LT(weighted.ratio(), 0.75);
  // A Hessian holds the same numbers on its diagonal.
  recipe::InputStatistics hessian;
  hessian.hessian = std::make_shared<Matrix<double>>(128, 128);
  for (int64_t k = 0; k < 128; ++k)
    hessian.hessian->at(k, k) = static_cast<double>(statistics.square[static_cast<size_t>(k)]);
  EXPECT_EQ(round(w, f, {{"importance", "input"}}, hessian).codes, weighted.codes);
  EXPECT_EQ(needs_of(nearest_search(), Json{{"importance", "input"}}),
            std::set{recipe::Need::input_square});
  EXPECT_TRUE(needs_of(nearest_search(), Json::object()).empty());
}

TEST(NearestSearch, SameBytesAtAnyThreadCount) {
  const auto w = random_matrix(33, 90, 6);
  for (const auto granularity : {Granularity::tensor, Granularity::row, Granularity::group}) {
    const Format f{.bits = 3,
                   .granularity = granularity,
                   .group = granularity == Granularity::group ? 32 : 0,
                   .symmetric = false};
    const auto one = round(w, f);
    for (int64_t threads = 2; threads <= 3; ++threads)
      EXPECT_EQ(round(w, f, Json::object(), {}, threads).codes, one.codes);
  }
}

TEST(NearestSearch, ScaleOfWeightsDoesNotMatter) {
  const auto w = random_matrix(8, 64, 7);
  const Format f{.bits = 3, .group = 32, .scale_dtype = DType::f32};
  const auto codes = round(w, f).codes.codes;
  for (const float factor : {0x1p-100f, 0x1p100f}) {
    auto scaled = w;
    for (float& x : scaled.data) x *= factor;
    EXPECT_EQ(round(scaled, f).codes.codes, codes);
  }
}

TEST(NearestSearch, OptionsRefuseWhatMakesNoSense) {
  const auto line = [](const char* text) -> std::string {
    try {
      nearest_search().resolve(Json::parse(text));
    } catch (const Error& e) {
      return e.line();
    }
    return "no error";
  };
  EXPECT_EQ(line(R"({"importance": "hessian"})"),
            "error[E_USAGE] rounder nearest_search: importance is \"hessian\"; known: none, input");
  EXPECT_EQ(line(R"({"narrowest": 2})"),
            "error[E_USAGE] rounder nearest_search: narrowest 2.000000 and widest 1.100000 span no "
            "range of scales; 0.4 and 1.1 are usual");
  EXPECT_EQ(line(R"({"steps": 0})"),
            "error[E_USAGE] rounder nearest_search: steps is 0; 80 is usual, 10000 the most");
}

}  // namespace
}  // namespace halftone::rounder
