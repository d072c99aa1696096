// Distributions small enough to work out by hand.
#include "halftone/runtime/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "halftone/base/error.h"
#include "halftone/base/rng.h"

namespace halftone::runtime {
namespace {

using Distribution = std::map<int32_t, double>;

// Probabilities 0.4, 0.3, 0.2, 0.1 in a scrambled order.
const std::vector<float> kLogits = {std::log(0.2f), std::log(0.4f), std::log(0.1f), std::log(0.3f)};

Distribution of(const SamplerOptions& options, const std::vector<float>& logits = kLogits,
                const std::vector<int32_t>& seen = {}) {
  Sampler sampler(options);
  Distribution out;
  for (const auto& t : sampler.distribution(logits, seen)) out[t.id] = t.probability;
  return out;
}

void expect_near(const Distribution& got, const Distribution& wanted) {
  ASSERT_EQ(got.size(), wanted.size());
  for (const auto& [id, p] : wanted) {
    ASSERT_TRUE(got.contains(id)) << id;
    EXPECT_NEAR(got.at(id), p, 1e-6) << id;
  }
}

TEST(Sampler, GreedyTakesTheLargestAndTheLowestIdAmongEquals) {
  expect_near(of({}), {{1, 1.0}});
  Sampler sampler({});
  EXPECT_EQ(sampler.pick(std::vector<float>{1, 7, 7, 2}, {}, 0), 1);
}

TEST(Sampler, TemperatureSharpensBeforeEverythingElse) {
  expect_near(of({.temperature = 1}), {{0, 0.2}, {1, 0.4}, {2, 0.1}, {3, 0.3}});
  // p^2 / sum: 0.04 0.16 0.01 0.09 over 0.30
  expect_near(of({.temperature = 0.5}),
              {{0, 0.04 / 0.3}, {1, 0.16 / 0.3}, {2, 0.01 / 0.3}, {3, 0.09 / 0.3}});
  // at temperature 0.5 tokens 1 and 3 reach 0.25 / 0.30 = 0.833 > 0.8; at temperature 1 they would
  // reach 0.7 only
  expect_near(of({.temperature = 0.5, .top_p = 0.8}), {{1, 0.16 / 0.25}, {3, 0.09 / 0.25}});
}

TEST(Sampler, TopKKeepsTiesWithTheLastOne) {
  expect_near(of({.temperature = 1, .top_k = 2}), {{1, 4.0 / 7}, {3, 3.0 / 7}});
  expect_near(of({.temperature = 1, .top_k = 9}), {{0, 0.2}, {1, 0.4}, {2, 0.1}, {3, 0.3}});
  expect_near(of({.temperature = 1, .top_k = 1}, {2, 2, 1}), {{0, 0.5}, {1, 0.5}});
}

// Against a sort: any order of the scores, ties, scores that no token may have.
TEST(Sampler, TopKKeepsWhatASortWouldKeep) {
  for (uint32_t round = 0; round < 60; ++round) {
    const CounterRng rng(round);
    std::vector<float> logits(50 + 40 * round);
    for (size_t i = 0; i < logits.size(); ++i) {
      const auto r = static_cast<float>(rng.uniform(i));
      logits[i] = round % 3 == 0   ? std::round(8 * r)  // ties
                  : round % 3 == 1 ? (r < 0.9F ? -std::numeric_limits<float>::infinity() : r)
                                   : r;
    }
    if (round % 4 == 1) std::sort(logits.begin(), logits.end());
    if (round % 4 == 2) std::sort(logits.rbegin(), logits.rend());
    std::vector<float> sorted = logits;
    std::sort(sorted.rbegin(), sorted.rend());
    for (const int64_t k : {1, 5, 40, 49}) {
      std::vector<int32_t> want, got;
      for (size_t i = 0; i < logits.size(); ++i)
        if (std::isfinite(logits[i]) && logits[i] >= sorted[static_cast<size_t>(k - 1)])
          want.push_back(static_cast<int32_t>(i));
      Sampler sampler({.temperature = 1, .top_k = k});
      for (const auto& t : sampler.distribution(logits, {})) got.push_back(t.id);
      EXPECT_EQ(got, want) << round << " " << k;
    }
  }
}

TEST(Sampler, TopPKeepsTheTokenThatReachesIt) {
  expect_near(of({.temperature = 1, .top_p = 0.5}), {{1, 4.0 / 7}, {3, 3.0 / 7}});
  expect_near(of({.temperature = 1, .top_p = 0.39}), {{1, 1.0}});
  expect_near(of({.temperature = 1, .top_p = 0.75}), {{0, 2.0 / 9}, {1, 4.0 / 9}, {3, 3.0 / 9}});
}

TEST(Sampler, TopPSortsOnlyAsFarAsItMustOnAFlatDistribution) {
  const std::vector<float> flat(1000, 0.0f);
  const Distribution kept = of({.temperature = 1, .top_p = 0.4995}, flat);
  EXPECT_EQ(kept.size(), 500u);
  for (int32_t id = 0; id < 500; ++id) ASSERT_TRUE(kept.contains(id)) << id;  // equal ones by id
}

TEST(Sampler, MinPIsRelativeToTheMostProbable) {
  expect_near(of({.temperature = 1, .min_p = 0.6}), {{1, 4.0 / 7}, {3, 3.0 / 7}});
  expect_near(of({.temperature = 1, .min_p = 0.24}), {{0, 0.2}, {1, 0.4}, {2, 0.1}, {3, 0.3}});
  // after top_p 0.75 (0, 1, 3 remain) the ratio 0.2 / 0.4 is what it was
  expect_near(of({.temperature = 1, .top_p = 0.75, .min_p = 0.55}), {{1, 4.0 / 7}, {3, 3.0 / 7}});
}

TEST(Sampler, RepetitionPenaltyCountsEachTokenOnce) {
  // logits 2, -1, 1; penalty 2 on tokens 0 and 1 -> 1, -2, 1
  const double e = std::exp(1.0), low = std::exp(-2.0), sum = 2 * e + low;
  expect_near(of({.temperature = 1, .repetition_penalty = 2}, {2, -1, 1}, {0, 1, 0, 0}),
              {{0, e / sum}, {1, low / sum}, {2, e / sum}});
  expect_near(of({.repetition_penalty = 3}, {2, -1, 1}, {0}), {{2, 1.0}});  // greedy sees it too
}

TEST(Sampler, DrawsFollowTheDistributionAndTheSeed) {
  Sampler sampler({.temperature = 1, .seed = 7});
  std::map<int32_t, int> counts;
  constexpr int kDraws = 20000;
  for (uint64_t i = 0; i < kDraws; ++i) ++counts[sampler.pick(kLogits, {}, i)];
  for (const auto& [id, p] :
       Distribution{{0, 0.2}, {1, 0.4}, {2, 0.1}, {3, 0.3}})  // five standard deviations
    EXPECT_NEAR(counts[id] / static_cast<double>(kDraws), p, 5 * std::sqrt(p * (1 - p) / kDraws))
        << id;
  Sampler same({.temperature = 1, .seed = 7}), other({.temperature = 1, .seed = 8});
  std::vector<int32_t> a, b, c;
  for (uint64_t i = 0; i < 50; ++i) {
    a.push_back(sampler.pick(kLogits, {}, i));
    b.push_back(same.pick(kLogits, {}, i));
    c.push_back(other.pick(kLogits, {}, i));
  }
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
}

TEST(Sampler, IgnoresMinusInfinityAndRefusesNothingAtAll) {
  const float none = -std::numeric_limits<float>::infinity();
  expect_near(of({.temperature = 1}, {none, 0, 0}), {{1, 0.5}, {2, 0.5}});
  EXPECT_THROW(of({}, {none, none}), NumericError);
  EXPECT_THROW(of({}, {std::nanf(""), std::nanf("")}), NumericError);
}

TEST(Sampler, RefusesOptionsThatMeanNothing) {
  const auto line = [](const SamplerOptions& o) {
    try {
      validate(o);
    } catch (const InputError& e) {
      return e.line();
    }
    return std::string("accepted");
  };
  EXPECT_EQ(line({.temperature = -1}),
            "error[E_USAGE] temperature: is -1.0, wanted 0 (greedy) or more");
  EXPECT_EQ(line({.top_p = 0}),
            "error[E_USAGE] top_p: is 0.0, wanted more than 0 and at most 1 (off)");
  EXPECT_EQ(line({.min_p = 1}),
            "error[E_USAGE] min_p: is 1.0, wanted 0 (off) or more and less than 1");
  EXPECT_EQ(line({.top_k = -3}), "error[E_USAGE] top_k: is -3.0, wanted 0 (off) or more");
  EXPECT_EQ(line({.repetition_penalty = 0}),
            "error[E_USAGE] repetition_penalty: is 0.0, wanted more than 0 (1: off)");
  EXPECT_EQ(line({.temperature = 0.8, .top_k = 40, .top_p = 0.95}), "accepted");
}

}  // namespace
}  // namespace halftone::runtime
