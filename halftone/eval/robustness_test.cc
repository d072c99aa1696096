#include "halftone/eval/robustness.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "halftone/base/threads.h"
#include "halftone/eval/test_source.h"

namespace halftone::eval {
namespace {

using testing_eval::ToySource;

TEST(Spread, IsMeanAndVarianceOfTheDraws) {
  const std::vector<double> values = {1, 2, 4, 9};  // mean 4, squares 9 + 4 + 0 + 25
  EXPECT_DOUBLE_EQ(spread(values).mean, 4);
  EXPECT_DOUBLE_EQ(spread(values).variance.value(), 38.0 / 3);
  EXPECT_FALSE(spread(std::span(values).first(1)).variance.has_value());
}

TEST(Robustness, OfNoNoiseIsExactlyZeroAndOfSomeIsThatOfEachDraw) {
  ThreadPool pool(2);
  Context context;
  context.pool = &pool;
  std::vector<int32_t> ids(64);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 7 % 11);
  const Protocol protocol = gptq_windows(64, 32);
  ToySource model(11, 0, 5);
  const auto run = [&](double noise) {
    return robustness(
        model,
        [&](uint64_t seed) {
          return std::make_unique<ToySource>(11, noise * static_cast<double>(seed + 1), 7);
        },
        3, ids, protocol, context);
  };
  const Robustness none = run(0);
  EXPECT_EQ(none.kl, std::vector<double>(3, 0));
  EXPECT_EQ(none.drop, std::vector<double>(3, 0));
  EXPECT_EQ(none.kl_spread.variance, 0);
  const Robustness some = run(0.1);
  for (int64_t seed = 0; seed < 3; ++seed) {
    ToySource disturbed(11, 0.1 * static_cast<double>(seed + 1), 7);
    const std::array<LogitSource*, 1> candidates = {&disturbed};
    const Divergence d = divergence(model, candidates, ids, protocol, context)[0];
    EXPECT_EQ(some.kl[static_cast<size_t>(seed)], d.kl_mean);
    EXPECT_EQ(some.drop[static_cast<size_t>(seed)],
              std::log(d.perplexity / d.reference_perplexity));
  }
  EXPECT_GT(some.kl[2], some.kl[0]);
  EXPECT_EQ(some.kl_spread.mean, spread(some.kl).mean);
}

TEST(Robustness, DrawsThatAreKnownAreNotMadeAgain) {
  ThreadPool pool(1);
  Context context;
  context.pool = &pool;
  const std::vector<int32_t> ids(32, 3);
  ToySource model(11, 0, 5);
  int64_t made = 0;
  std::map<uint64_t, Json> kept;
  RobustnessOptions options{
      .memory = {.find = [&](uint64_t key) -> std::optional<Json> {
                   const auto found = kept.find(key);
                   return found == kept.end() ? std::nullopt : std::optional(found->second);
                 },
                 .keep = [&](uint64_t key, const Json& value) { kept[key] = value; }},
      .noise = "weights 0.1"};
  const auto run = [&](int64_t seeds) {
    return robustness(
        model,
        [&](uint64_t seed) {
          ++made;
          return std::make_unique<ToySource>(11, 0.1 * static_cast<double>(seed + 1), 7);
        },
        seeds, ids, gptq_windows(32, 16), context, options);
  };
  const Robustness three = run(3), four = run(4);
  EXPECT_EQ(made, 4);
  EXPECT_EQ(std::vector(four.kl.begin(), four.kl.begin() + 3), three.kl);
  EXPECT_EQ(std::vector(four.drop.begin(), four.drop.begin() + 3), three.drop);
  options.noise = "weights 0.25";
  run(1);
  EXPECT_EQ(made, 5);
}

}  // namespace
}  // namespace halftone::eval
