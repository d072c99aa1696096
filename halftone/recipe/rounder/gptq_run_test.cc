#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "halftone/recipe/rounder/feedback/test_problem.h"

namespace halftone::rounder {
namespace {

using format::Format;
using format::Granularity;
using testing::ElementsAre;
using testing::HasSubstr;

// Options under which the algorithm's own codes come out, better than nearest or not.
Json raw(Json options = Json::object()) {
  options["nearest_if_worse"] = false;
  return options;
}

std::string error_of(auto&& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.line();
  }
  return "no error";
}

// H = X^T X / 3 of six tokens, asymmetric 3 bit per row; codes and errors were worked by hand and
// by exhaustive search.
TestLayer worked_example() {
  TestLayer layer{.w = Matrix<float>(2, 4),
                  .x = {1, 2, 0, 1, 2, 4, 1, 0, 0, 1, 3, 1, 1, 3, 1, 2, 3, 5, 0, 1, 1, 1, 2, 2},
                  .tokens = 6};
  layer.w.data = {.31f, -.72f, .15f, .48f, -.21f, .64f, -.53f, .09f};
  return layer;
}

TEST(Gptq, WorkedExample) {
  const auto layer = worked_example();
  Format f = row_format(3, false);
  f.scale_dtype = DType::f32;
  // Errors below are for X^T X / 3; statistics() has 2 X^T X.
  const auto q = round_layer(gptq_run(), layer, f, Json::object());
  EXPECT_THAT(q.codes.codes, ElementsAre(6, 0, 5, 6, 2, 7, 0, 3));
  EXPECT_NEAR(q.error / 6, .066816, 1e-6);
  EXPECT_NEAR(q.nearest_error / 6, .22686, 1e-5);
  EXPECT_EQ(q.damping, 0.01);
  const auto ordered = round_layer(gptq_run(), layer, f, {{"act_order", true}});
  EXPECT_THAT(ordered.codes.codes, ElementsAre(5, 0, 5, 7, 1, 7, 0, 4));
  EXPECT_NEAR(ordered.error / 6, .061859, 1e-6);
}

struct Case {
  std::string name;
  int64_t rows, columns;
  Format format;
  bool act_order = false, static_groups = false;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

std::vector<Case> cases() {
  const auto grouped = [](int64_t bits, int64_t group, bool symmetric, bool clip = false) {
    return Format{.bits = bits, .group = group, .symmetric = symmetric, .clip_search = clip};
  };
  return {
      {"row4", 70, 133, row_format(4)},
      {"row3_asym", 65, 96, row_format(3, false)},
      {"row2", 10, 200, row_format(2)},
      {"tensor4", 30, 64, {.bits = 4, .granularity = Granularity::tensor, .group = 0}},
      {"g16", 67, 128, grouped(4, 16, true)},
      {"g32_asym", 20, 160, grouped(3, 32, false)},
      {"short_last_group", 20, 150, grouped(3, 64, true)},
      {"group_wider_than_a_block", 20, 300, grouped(2, 200, true)},
      {"group_wider_than_the_row", 20, 50, grouped(4, 64, true)},
      {"odd_group", 20, 131, grouped(3, 7, false)},
      {"g32_static", 20, 160, grouped(3, 32, true), false, true},
      {"g32_act_order", 20, 150, grouped(3, 32, true), true, false},
      {"g32_act_order_static", 20, 150, grouped(3, 32, false), true, true},
      {"row_act_order", 40, 140, row_format(3), true, false},
      {"clip_search", 20, 96, grouped(2, 32, true, true)},
      {"single_column", 20, 1, row_format(4)},
      {"single_row", 1, 40, grouped(4, 16, true)},
  };
}

class Compensating : public testing::TestWithParam<Case> {
 protected:
  Json options(const Json& more = Json::object()) const {
    Json o =
        raw({{"act_order", GetParam().act_order}, {"static_groups", GetParam().static_groups}});
    o.update(more);
    return o;
  }
  TestLayer layer() const { return random_layer(GetParam().rows, GetParam().columns, 17); }
};

// Three code paths: error pushed through the inverse factor, error pulled through the factor, and
// one weight at a time with an explicit inverse.
TEST_P(Compensating, GptqEqualsLdlqAndFixedOrderObq) {
  const auto gptq = round_layer(gptq_run(), layer(), GetParam().format, options());
  const auto ldlq = round_layer(ldlq_run(), layer(), GetParam().format, options());
  const auto obq = round_layer(obq_run(), layer(), GetParam().format,
                               raw({{"order", GetParam().act_order ? "act_order" : "natural"},
                                    {"static_groups", GetParam().static_groups},
                                    {"damping", 0.01}}));
  EXPECT_EQ(gptq.codes, ldlq.codes);
  EXPECT_EQ(gptq.codes, obq.codes);
}

TEST_P(Compensating, CodesDoNotDependOnTheBlock) {
  const auto first = round_layer(gptq_run(), layer(), GetParam().format, options());
  for (const int64_t block : {1, 16, 31, 1000})
    EXPECT_EQ(
        round_layer(gptq_run(), layer(), GetParam().format, options({{"block", block}})).codes,
        first.codes)
        << block;
}

TEST_P(Compensating, ErrorsAreThoseOfTheCodesInTheOriginalOrder) {
  const auto l = layer();
  const auto q = round_layer(gptq_run(), l, GetParam().format, options());
  const auto h = l.hessian();
  const double error = layer_error(q.codes.dequantize(), l.w, h);
  EXPECT_NEAR(q.error, error, 1e-9 * error);
  const double nearest =
      layer_error(format::quantize_nearest(l.w, GetParam().format).dequantize(), l.w, h);
  EXPECT_NEAR(q.nearest_error, nearest, 1e-9 * nearest);
}

// sum e^2 = tr((W-Q)(H + lambda I)(W-Q)^T), though the first never sees H and the second never sees
// the factor.
TEST_P(Compensating, LossIdentity) {
  const auto l = layer();
  const auto h = l.hessian();
  double trace = 0;
  for (int64_t k = 0; k < h.rows; ++k) trace += h.at(k, k);
  const double lambda = 0.01 * trace / static_cast<double>(h.rows);
  for (const auto& run : {gptq_run(), ldlq_run()}) {
    const auto q = round_layer(run, l, GetParam().format, options());
    const auto values = q.codes.dequantize();
    double squares = 0;
    for (size_t i = 0; i < values.data.size(); ++i)
      squares +=
          std::pow(static_cast<double>(values.data[i]) - static_cast<double>(l.w.data[i]), 2);
    EXPECT_NEAR(q.damped_loss, q.error + lambda * squares, 1e-9 * q.damped_loss);
  }
}

TEST_P(Compensating, SameBytesAtAnyThreadCount) {
  for (const auto& run : {gptq_run(), ldlq_run()}) {
    const auto one = round_layer(run, layer(), GetParam().format, options(), 1);
    for (int64_t threads = 2; threads <= 3; ++threads) {
      const auto more = round_layer(run, layer(), GetParam().format, options(), threads);
      EXPECT_EQ(more.codes, one.codes);
      EXPECT_EQ(more.error, one.error);
      EXPECT_EQ(more.nearest_error, one.nearest_error);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Layers, Compensating, testing::ValuesIn(cases()),
                         [](const auto& test) { return test.param.name; });

TEST(Gptq, BeatsNearestOnCorrelatedInputs) {
  const auto q = round_layer(gptq_run(), random_layer(32, 64, 5), row_format(3), Json::object());
  EXPECT_LT(q.ratio(), 0.6);
  EXPECT_EQ(q.fallback, "");
}

TEST(Gptq, GainsLittleOnIndependentInputs) {
  const auto q = round_layer(gptq_run(), random_layer(64, 64, 6, 0, 6400), row_format(3), raw());
  EXPECT_GT(q.ratio(), 0.96);
  EXPECT_LE(q.ratio(), 1.0);
}

TestLayer with_outliers(int64_t rows, int64_t columns) {
  auto layer = random_layer(rows, columns, 7);
  for (int64_t t = 0; t < layer.tokens; ++t)
    for (const int64_t k : {columns / 3, columns - 5})
      layer.x[static_cast<size_t>(t * columns + k)] *= 20;
  return layer;
}

TEST(Gptq, TakesOutlierChannelsFirstWhenAsked) {
  const auto layer = with_outliers(64, 128);
  const Format f{.bits = 3, .group = 32};
  const auto natural = round_layer(gptq_run(), layer, f, raw()),
             ordered = round_layer(gptq_run(), layer, f, raw({{"act_order", true}})),
             fixed = round_layer(gptq_run(), layer, f,
                                 raw({{"act_order", true}, {"static_groups", true}})),
             aware = round_layer(gptq_run(), layer, f, raw({{"act_group_aware", true}}));
  EXPECT_LT(natural.ratio(), 0.6);
  EXPECT_LT(ordered.error, natural.error);
  EXPECT_LT(fixed.error, natural.error);
  EXPECT_LT(aware.error, natural.error);
  EXPECT_FALSE(ordered.codes.column_group.empty());
  EXPECT_TRUE(fixed.codes.column_group.empty());
  EXPECT_TRUE(aware.codes.column_group.empty());
  EXPECT_NEAR(aware.error, layer_error(aware.codes.dequantize(), layer.w, layer.hessian()),
              1e-9 * aware.error);
}

TEST(Gptq, GroupAwareOrderKeepsGroupsThatDoNotDivideTheRow) {
  const auto layer = with_outliers(20, 150);
  for (const auto& f : {Format{.bits = 3, .group = 64}, row_format(3)}) {
    const auto q = round_layer(gptq_run(), layer, f, raw({{"act_group_aware", true}}));
    EXPECT_TRUE(q.codes.column_group.empty());
    EXPECT_NEAR(q.error, layer_error(q.codes.dequantize(), layer.w, layer.hessian()),
                1e-9 * q.error);
    EXPECT_LT(q.ratio(), 0.5);
  }
}

TEST(Gptq, StaleGridsDifferOnlyWhereAGroupStartsInsideABlock) {
  const auto layer = random_layer(16, 128, 8);
  const auto codes = [&](int64_t group, int64_t block, bool stale) {
    return round_layer(gptq_run(), layer, {.bits = 3, .group = group},
                       raw({{"block", block}, {"stale_grids", stale}}))
        .codes;
  };
  EXPECT_NE(codes(32, 128, true), codes(32, 128, false));
  EXPECT_NE(codes(32, 128, true),
            codes(32, 64, true));  // the published behaviour depends on the block
  EXPECT_EQ(codes(32, 32, true), codes(32, 32, false));
  EXPECT_EQ(codes(64, 32, true), codes(64, 32, false));
}

TEST(Gptq, LinearsOfOneInputComeOutAsEachAlone) {
  const auto layer = random_layer(40, 96, 9);
  auto other = random_layer(70, 96, 10);
  other.x = layer.x;
  other.tokens = layer.tokens;
  const Format a{.bits = 4, .group = 32}, b = row_format(8);
  const Problem problems[] = {{"q", &layer.w, a}, {"k", &other.w, b}};
  Context context;
  context.threads = 2;
  for (const bool act_order : {false, true}) {
    const Json options{{"act_order", act_order}};
    const auto both = gptq_run()(problems, layer.statistics(), options, context);
    EXPECT_EQ(both.at(0).codes, round_layer(gptq_run(), layer, a, options).codes);
    EXPECT_EQ(both.at(1).codes, round_layer(gptq_run(), other, b, options).codes);
    EXPECT_EQ(both.at(1).error, round_layer(gptq_run(), other, b, options).error);
  }
}

TEST(Gptq, UncorrelatedInputsGiveNearestAndSaySo) {
  auto layer = random_layer(12, 40, 11);
  recipe::InputStatistics statistics{.tokens = 1, .sequences = 1};
  statistics.hessian = std::make_shared<Matrix<double>>(40, 40);
  for (int64_t k = 0; k < 40; ++k) statistics.hessian->at(k, k) = 1 + static_cast<double>(k);
  const Problem problem{.name = "a", .weight = &layer.w, .format = {.bits = 4, .group = 16}};
  const auto q =
      gptq_run()(std::span(&problem, 1), std::move(statistics), Json::object(), Context{}).at(0);
  EXPECT_EQ(q.codes, format::quantize_nearest(layer.w, problem.format));
  EXPECT_TRUE(q.diagonal_hessian);
  EXPECT_EQ(q.ratio(), 1);
  EXPECT_EQ(q.fallback, "");
}

TEST(Gptq, DeadColumnsBecomeZeroAndTakeNoPart) {
  auto layer = random_layer(24, 60, 12);
  const std::vector<int64_t> dead = {0, 17, 18, 59};
  for (int64_t t = 0; t < layer.tokens; ++t)
    for (const int64_t k : dead) layer.x[static_cast<size_t>(t * 60 + k)] = 0;
  for (const bool act_order : {false, true})
    for (const Format& f : {row_format(4), Format{.bits = 3, .group = 16, .symmetric = false}}) {
      const auto q = round_layer(gptq_run(), layer, f, {{"act_order", act_order}});
      EXPECT_EQ(q.dead_columns, 4);
      const auto values = q.codes.dequantize();
      for (int64_t n = 0; n < 24; ++n)
        for (const int64_t k : dead) EXPECT_EQ(values.at(n, k), 0);
      EXPECT_LT(q.ratio(), 0.9);
      EXPECT_NEAR(q.error, layer_error(values, layer.w, layer.hessian()), 1e-9 * q.error);
    }
}

TEST(Gptq, InputsThatNeverFireLeaveNearestRounding) {
  auto layer = random_layer(8, 32, 13);
  std::fill(layer.x.begin(), layer.x.end(), 0.0f);
  const auto q = round_layer(gptq_run(), layer, row_format(4), Json::object());
  EXPECT_EQ(q.codes, format::quantize_nearest(layer.w, row_format(4)));
  EXPECT_EQ(q.fallback, "no calibration token reached it: every column of its input is 0");
  EXPECT_EQ(q.dead_columns, 32);
  EXPECT_EQ(q.ratio(), 1);
}

// Layers on which a careless implementation divides by zero, or loses itself in rounding.
TEST(Gptq, HardHessiansGiveFiniteCodesNoWorseThanNearest) {
  const auto scaled = [](TestLayer layer, float factor) {
    for (float& x : layer.x) x *= factor;
    return layer;
  };
  const auto twins = [](TestLayer layer) {
    for (int64_t t = 0; t < layer.tokens; ++t)
      layer.x[static_cast<size_t>(t * layer.w.cols + 3)] =
          layer.x[static_cast<size_t>(t * layer.w.cols + 9)];
    return layer;
  };
  const auto rank_one = [](TestLayer layer) {
    for (int64_t t = 1; t < layer.tokens; ++t)
      for (int64_t k = 0; k < layer.w.cols; ++k)
        layer.x[static_cast<size_t>(t * layer.w.cols + k)] =
            layer.x[static_cast<size_t>(k)] * static_cast<float>(t);
    return layer;
  };
  const auto weights = [](TestLayer layer, float factor) {
    for (float& w : layer.w.data) w *= factor;
    return layer;
  };
  const auto base = random_layer(20, 48, 14);
  const std::vector<std::pair<std::string, TestLayer>> layers = {
      {"twin columns", twins(base)},
      {"rank one", rank_one(base)},
      {"one sample", random_layer(20, 48, 15, 1, 1)},
      {"fewer tokens than columns", random_layer(20, 48, 15, 1, 10)},
      {"inputs of 1e-30", scaled(base, 1e-30f)},
      {"inputs of 1e+30", scaled(base, 1e30f)},
      {"weights of 1e-30", weights(base, 1e-30f)},
      {"weights of 1e+30", weights(base, 1e30f)},
      {"weights of zero", weights(base, 0)},
  };
  for (const auto& [name, layer] : layers)
    for (const DType dtype : {DType::f16, DType::f32})
      for (const auto& run : {gptq_run(), ldlq_run(), obq_run()}) {
        Format f{.bits = 3, .group = 16, .scale_dtype = dtype};
        const auto q = round_layer(run, layer, f, Json::object());
        EXPECT_TRUE(std::isfinite(q.error)) << name;
        EXPECT_LE(q.error, q.nearest_error) << name;
        for (const float scale : q.codes.scales)
          EXPECT_TRUE(std::isfinite(scale) && scale > 0) << name;
        const bool clamps =
            dtype == DType::f16 && (name == "weights of 1e-30" || name == "weights of 1e+30");
        EXPECT_EQ(q.clamped_scales, clamps ? 60 : 0) << name;
      }
}

TEST(Gptq, TheScaleOfInputsDoesNotMatter) {
  const auto layer = random_layer(20, 48, 16);
  const auto codes = round_layer(gptq_run(), layer, row_format(3), raw()).codes;
  for (const float factor : {0x1p-90f, 0x1p90f}) {
    auto scaled = layer;
    for (float& x : scaled.x) x *= factor;
    EXPECT_EQ(round_layer(gptq_run(), scaled, row_format(3), raw()).codes, codes);
    // Also with an input that never fires, whose place on the diagonal must not outweigh tiny ones.
    for (int64_t t = 0; t < scaled.tokens; ++t) scaled.x[static_cast<size_t>(t * 48 + 5)] = 0;
    EXPECT_LT(round_layer(gptq_run(), scaled, row_format(3), raw()).ratio(), 0.8);
  }
}

recipe::InputStatistics given(Matrix<double> h) {
  recipe::InputStatistics statistics{.tokens = 1, .sequences = 1};
  statistics.hessian = std::make_shared<Matrix<double>>(std::move(h));
  return statistics;
}

TEST(Gptq, RaisesDampingUntilTheHessianHasAFactor) {
  const auto layer = random_layer(10, 30, 18);
  const Problem problem{.name = "a", .weight = &layer.w, .format = row_format(3)};
  auto h = layer.hessian();
  // A negative eigenvalue of about half the mean of the diagonal: damping of 0.01 and of 0.1 do not
  // lift it, 1 does.
  for (int64_t i = 0; i < 30; ++i)
    for (int64_t j = 0; j < 30; ++j) h.at(i, j) *= i == j ? 1 : 1.5;
  const auto q = gptq_run()(std::span(&problem, 1), given(h), Json::object(), Context{}).at(0);
  EXPECT_GT(q.damping, 0.01);
  EXPECT_LE(q.damping, 1.0);
  // A tiny one, as rounding makes them, is below the usual damping.
  auto tiny = layer.hessian();
  tiny.at(4, 4) = tiny.at(9, 9) = 1;
  for (int64_t k = 0; k < 30; ++k)
    tiny.at(4, k) = tiny.at(k, 4) = tiny.at(9, k) = tiny.at(k, 9) =
        k == 4 || k == 9 ? 1 + 1e-9 * (k != 4) : 0;
  EXPECT_EQ(
      gptq_run()(std::span(&problem, 1), given(tiny), Json::object(), Context{}).at(0).damping,
      0.01);
}

TEST(Gptq, FallsBackWhereNoDampingHelps) {
  const auto layer = random_layer(10, 30, 19);
  const Problem problem{.name = "a", .weight = &layer.w, .format = row_format(3)};
  auto h = layer.hessian();
  for (int64_t k = 1; k < 30; ++k) h.at(0, k) = h.at(k, 0) = 1e9;
  const auto q = gptq_run()(std::span(&problem, 1), given(h), Json::object(), Context{}).at(0);
  EXPECT_EQ(q.codes, format::quantize_nearest(layer.w, row_format(3)));
  EXPECT_THAT(q.fallback, HasSubstr("no factor even with damping 1000"));
}

// One massive input leaves an error that the others can hardly take.
TEST(Gptq, APoorLayerIsRoundedAgainWithGridsFittedOnTheWay) {
  auto layer = random_layer(40, 256, 23);
  for (int64_t t = 0; t < layer.tokens; t += 20) layer.x[static_cast<size_t>(t * 256 + 7)] += 300;
  const Format f{.bits = 3, .group = 32};
  const auto fixed =
      round_layer(gptq_run(), layer, f, raw({{"act_order", true}, {"static_groups", true}}));
  const auto fitted = round_layer(gptq_run(), layer, f, raw({{"act_group_aware", true}}));
  ASSERT_LT(fitted.error, fixed.error);
  const auto again = [&](double above) {
    return round_layer(gptq_run(), layer, f,
                       raw({{"act_order", true}, {"static_groups", true}, {"refit_above", above}}));
  };
  EXPECT_EQ(again(fixed.ratio() * 0.99).codes, fitted.codes);
  EXPECT_TRUE(again(fixed.ratio() * 0.99).refitted);
  EXPECT_EQ(again(fixed.ratio() * 1.01).codes, fixed.codes);
  EXPECT_FALSE(again(fixed.ratio() * 1.01).refitted);
  // Without them the first result is the better one, and kept.
  const auto usual = random_layer(40, 256, 23);
  const auto first =
      round_layer(gptq_run(), usual, f, raw({{"act_order", true}, {"static_groups", true}}));
  const auto second = round_layer(
      gptq_run(), usual, f,
      raw({{"act_order", true}, {"static_groups", true}, {"refit_above", first.ratio() / 2}}));
  EXPECT_EQ(second.codes, first.codes);
  EXPECT_EQ(second.error, first.error);
  EXPECT_FALSE(second.refitted);
  EXPECT_THROW(round_layer(gptq_run(), usual, f, raw({{"refit_above", 0.5}})), InputError);
}

// Linears of one input in different formats, some inputs dead: each with groups is fitted in its
// own width, as if it were alone.
TEST(Gptq, SecondTriesKeepToTheGroupsOfEachFormat) {
  auto layer = random_layer(40, 256, 23);
  for (int64_t t = 0; t < layer.tokens; ++t) {
    if (t % 20 == 0) layer.x[static_cast<size_t>(t * 256 + 7)] += 300;
    layer.x[static_cast<size_t>(t * 256 + 100)] = 0;
  }
  const std::vector<Format> formats = {
      {.bits = 3, .group = 64}, row_format(3), {.bits = 3, .group = 32}};
  std::vector<Problem> problems;
  for (const Format& f : formats)
    problems.push_back({.name = "linear", .weight = &layer.w, .format = f});
  const Json options = raw({{"act_order", true}, {"static_groups", true}, {"refit_above", 0.01}});
  const auto together = gptq_run()(problems, given(layer.hessian()), options, Context{});
  for (size_t i = 0; i < formats.size(); ++i) {
    const auto alone = round_layer(gptq_run(), layer, formats[i], options);
    EXPECT_EQ(together[i].codes, alone.codes) << i;
    EXPECT_EQ(together[i].refitted, alone.refitted) << i;
    EXPECT_EQ(together[i].dead_columns, 1);
  }
  EXPECT_FALSE(together[1].refitted);
  EXPECT_TRUE(together[0].refitted || together[2].refitted);
}

TEST(Gptq, NearestIsKeptWhereItIsBetter) {
  // Two weights per row just below half a step that pull the same way: compensation pushes the
  // second over the edge of a tiny grid.
  auto layer = random_layer(200, 12, 20, 0, 4000);
  const auto forced = round_layer(gptq_run(), layer, row_format(8), raw());
  const auto kept = round_layer(gptq_run(), layer, row_format(8), Json::object());
  EXPECT_LE(kept.error, kept.nearest_error);
  if (forced.error > forced.nearest_error) {
    EXPECT_EQ(kept.fallback, "nearest has the smaller error");
    EXPECT_EQ(kept.codes, format::quantize_nearest(layer.w, row_format(8)));
  } else {
    EXPECT_EQ(kept.codes, forced.codes);
  }
}

TEST(Gptq, RefusesStatisticsThatAreNotFinite) {
  const auto layer = random_layer(4, 8, 21);
  const Problem problem{
      .name = "model.layers.2.mlp.down_proj", .weight = &layer.w, .format = row_format(4)};
  auto h = layer.hessian();
  h.at(3, 6) = h.at(6, 3) = std::nan("");
  EXPECT_EQ(
      error_of([&] { gptq_run()(std::span(&problem, 1), given(h), Json::object(), Context{}); }),
      "error[E_NONFINITE] model.layers.2.mlp.down_proj: the Hessian of its input is not finite at "
      "[3, 6]; "
      "the model's activations overflow on the calibration text: look for a damaged weight before "
      "this layer");
}

TEST(Gptq, StopsWhenAsked) {
  const auto layer = random_layer(100, 40, 22);
  const Problem problem{.name = "a", .weight = &layer.w, .format = row_format(4)};
  std::atomic<bool> stop = true;
  Context context;
  context.stop = &stop;
  EXPECT_THAT(error_of([&] {
                gptq_run()(std::span(&problem, 1), layer.statistics(), Json::object(), context);
              }),
              HasSubstr("interrupted"));
}

TEST(Ldlq, InReverseEqualsGptqOfTheReversedLayer) {
  const auto layer = random_layer(30, 70, 23);
  auto mirrored = layer;
  for (int64_t n = 0; n < 30; ++n) std::reverse(mirrored.w.row(n).begin(), mirrored.w.row(n).end());
  for (int64_t t = 0; t < layer.tokens; ++t)
    std::reverse(mirrored.x.begin() + t * 70, mirrored.x.begin() + (t + 1) * 70);
  const auto a = round_layer(ldlq_run(), layer, row_format(3, false), raw({{"reverse", true}}));
  const auto b = round_layer(gptq_run(), mirrored, row_format(3, false), raw());
  for (int64_t n = 0; n < 30; ++n)
    for (int64_t k = 0; k < 70; ++k)
      EXPECT_EQ(a.codes.codes[static_cast<size_t>(n * 70 + k)],
                b.codes.codes[static_cast<size_t>(n * 70 + 69 - k)]);
  const auto grouped =
      round_layer(ldlq_run(), layer, {.bits = 3, .group = 32}, raw({{"reverse", true}}));
  EXPECT_TRUE(grouped.codes.column_group.empty());
  EXPECT_NEAR(grouped.error, layer_error(grouped.codes.dequantize(), layer.w, layer.hessian()),
              1e-9 * grouped.error);
}

}  // namespace
}  // namespace halftone::rounder
