// The table of rounders, and those that run in the lean program.
#include "halftone/recipe/rounder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "halftone/base/rng.h"

namespace halftone::rounder {
namespace {

Matrix<float> random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  const CounterRng rng(seed);
  Matrix<float> w(rows, cols);
  for (size_t i = 0; i < w.data.size(); ++i) w.data[i] = static_cast<float>(rng.normal(i));
  return w;
}

const Entry& entry(const std::string& name) {
  static const Table<Entry> table("rounder", entries());
  return table.at(name);
}

std::string error_of(auto&& action) {
  try {
    action();
  } catch (const Error& e) {
    return e.line();
  }
  return "no error";
}

TEST(Rounders, EveryEntrySaysWhatItIs) {
  for (const auto& row : entries()) {
    EXPECT_FALSE(row.entry.summary.empty()) << row.name;
    EXPECT_TRUE(row.entry.resolve && row.entry.clash && row.entry.flops) << row.name;
    const Json resolved = row.entry.resolve(Json::object());
    EXPECT_EQ(resolved.size(), row.entry.options.size()) << row.name;
    EXPECT_EQ(row.entry.resolve(resolved), resolved) << row.name;
    EXPECT_EQ(row.entry.clash(format::Format{}, resolved), "") << row.name;
    // Without a need there is no reason for a worker.
    EXPECT_EQ(row.entry.needs.empty(), static_cast<bool>(row.entry.run)) << row.name;
  }
}

TEST(Rounders, OptionsRefuseWhatMakesNoSense) {
  const auto line = [](const std::string& name, const char* text) {
    return error_of([&] { entry(name).resolve(Json::parse(text)); });
  };
  EXPECT_EQ(line("gptq", R"({"blok": 64})"),
            "error[E_USAGE] rounder gptq: unknown key \"blok\"; did you mean block?");
  EXPECT_EQ(line("gptq", R"({"block": 0})"),
            "error[E_USAGE] rounder gptq: block is 0; 128 is usual, 1 the least");
  EXPECT_EQ(line("gptq", R"({"damping": -1})"),
            "error[E_USAGE] rounder gptq: damping is -1.000000; it is a fraction of the mean "
            "diagonal: 0.01 is usual, 1 the most");
  EXPECT_EQ(line("gptq", R"({"act_order": true, "act_group_aware": true})"),
            "error[E_USAGE] rounder gptq: act_order and act_group_aware contradict each other; "
            "leave one of them out");
  EXPECT_EQ(line("obq", R"({"order": "random"})"),
            "error[E_USAGE] rounder obq: order is \"random\"; known: greedy, natural, act_order");
  EXPECT_EQ(line("ldlq", R"({"reverse": 1})"),
            "error[E_USAGE] rounder ldlq: reverse is \"1\", wanted true or false");
  EXPECT_EQ(line("nearest", R"({"block": 1})"),
            "error[E_USAGE] rounder nearest: unknown key \"block\"; it takes no options");
}

TEST(Nearest, GivesTheNearestCodesAndTheirDistance) {
  const auto w = random_matrix(9, 100, 1);
  const Problem problem{.name = "a", .weight = &w, .format = {.bits = 3, .group = 32}};
  const auto result =
      entry("nearest").run(std::span(&problem, 1), {}, Json::object(), Context{}).at(0);
  EXPECT_EQ(result.codes, format::quantize_nearest(w, problem.format));
  const auto q = result.codes.dequantize();
  double sum = 0;
  for (size_t i = 0; i < w.data.size(); ++i)
    sum += std::pow(static_cast<double>(q.data[i]) - static_cast<double>(w.data[i]), 2);
  EXPECT_NEAR(result.error, sum, 1e-12 * sum);
  EXPECT_EQ(result.ratio(), 1);
  EXPECT_EQ(result.fallback, "");
}

TEST(Nearest, RefusesWeightsThatAreNotFinite) {
  auto w = random_matrix(4, 8, 2);
  w.at(2, 5) = std::numeric_limits<float>::quiet_NaN();
  w.at(3, 1) = std::numeric_limits<float>::infinity();
  const Problem problem{.name = "model.layers.3.mlp.up_proj", .weight = &w};
  EXPECT_EQ(error_of([&] {
              entry("nearest").run(std::span(&problem, 1), {}, Json::object(), Context{});
            }),
            "error[E_NONFINITE] model.layers.3.mlp.up_proj: the weight holds 2 NaN or infinite "
            "values, the first at [2, 5]; "
            "get the file again, or repair it");
}

TEST(Nearest, SameResultAtAnyThreadCount) {
  const auto w = random_matrix(50, 200, 3);
  const Problem problem{.name = "a", .weight = &w};
  Context context;
  const auto one = entry("nearest").run(std::span(&problem, 1), {}, Json::object(), context).at(0);
  for (context.threads = 2; context.threads <= 3; ++context.threads) {
    const auto more =
        entry("nearest").run(std::span(&problem, 1), {}, Json::object(), context).at(0);
    EXPECT_EQ(more.codes, one.codes);
    EXPECT_EQ(more.error, one.error);
  }
}

}  // namespace
}  // namespace halftone::rounder
