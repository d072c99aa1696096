#include "halftone/eval/answer_divergence.h"

#include <gtest/gtest.h>

#include <cmath>

#include "halftone/eval/test_source.h"

namespace halftone::eval {
namespace {

using testing_eval::ToySource;

// Both sides read the reference's answer: at each token of it KL is that of the definition, over
// the logits at the position before.
TEST(AnswerDivergence, IsTheKlWhereEachTokenOfTheAnswerIsChosen) {
  const int64_t vocabulary = 13;
  ToySource reference(vocabulary, 0, 3), candidate(vocabulary, 0.5, 4);
  const std::vector<std::vector<int32_t>> prompts = {{1, 5, 2}, {7}, {3}};
  const std::vector<Answer> answers = {{{4, 4, 9, 0, 12}, ""}, {{}, ""}, {{6}, ""}};
  // Asked in the middle, before the first token of none, after the last.
  const std::vector<std::optional<int64_t>> ask_at = {2, 0, 1};
  const auto found = answer_divergence(reference, candidate, prompts, answers, ask_at, Context{});
  ASSERT_EQ(found.size(), 3u);
  EXPECT_TRUE(found[1].kl.empty());
  for (const size_t i : {size_t{0}, size_t{2}}) {
    std::vector<int32_t> all = prompts[i];
    all.insert(all.end(), answers[i].ids.begin(), answers[i].ids.end());
    ASSERT_EQ(found[i].kl.size(), answers[i].ids.size());
    for (size_t t = 0; t < found[i].kl.size(); ++t) {
      const auto position = static_cast<int64_t>(prompts[i].size() + t) - 1;
      std::vector<std::vector<double>> p;
      for (const double noise : {0.0, 0.5}) {
        ToySource source(vocabulary, noise, 1);
        std::vector<float> row(static_cast<size_t>(vocabulary));
        source.begin(all, position);
        source.next(row);
        double sum = 0;
        p.emplace_back();
        for (const float x : row) sum += std::exp(static_cast<double>(x));
        for (const float x : row) p.back().push_back(std::exp(static_cast<double>(x)) / sum);
      }
      double kl = 0;
      for (size_t v = 0; v < p[0].size(); ++v) kl += p[0][v] * std::log(p[0][v] / p[1][v]);
      EXPECT_NEAR(found[i].kl[t], kl, 1e-5) << i << " " << t;
      EXPECT_GT(kl, 0.001);
    }
  }
}

// The five likeliest tokens of both where it was asked for, by a plain softmax of the logits there;
// nothing where it was not.
TEST(AnswerDivergence, GivesTheLikeliestTokensWhereTheAnswersPart) {
  const int64_t vocabulary = 13;
  ToySource reference(vocabulary, 0, 3), candidate(vocabulary, 0.5, 4);
  const std::vector<std::vector<int32_t>> prompts = {{1, 5, 2}, {7}, {3}, {4}};
  const std::vector<Answer> answers = {{{4, 4, 9}, ""}, {{}, ""}, {{6, 2}, ""}, {{6}, ""}};
  const std::vector<std::optional<int64_t>> ask_at = {1, 0, 2, {}};
  const auto found = answer_divergence(reference, candidate, prompts, answers, ask_at, Context{});
  EXPECT_TRUE(found[3].reference_top.empty() && found[3].candidate_top.empty());
  for (size_t i = 0; i < 3; ++i) {
    std::vector<int32_t> all = prompts[i];
    all.insert(all.end(), answers[i].ids.begin(), answers[i].ids.begin() + *ask_at[i]);
    for (const bool of_reference : {true, false}) {
      ToySource source(vocabulary, of_reference ? 0 : 0.5, 1);
      std::vector<float> row(static_cast<size_t>(vocabulary));
      source.begin(all, std::ssize(all) - 1);
      source.next(row);
      double sum = 0;
      for (const float x : row) sum += std::exp(static_cast<double>(x));
      const auto& top = of_reference ? found[i].reference_top : found[i].candidate_top;
      ASSERT_EQ(top.size(), 5u);
      double before = 1;
      for (const auto& [id, probability] : top) {
        const double p = std::exp(static_cast<double>(row[static_cast<size_t>(id)])) / sum;
        EXPECT_NEAR(probability, p, 1e-9);
        EXPECT_LE(probability, before);
        before = probability;
        row[static_cast<size_t>(id)] = -INFINITY;
      }
      for (const float x : row) EXPECT_LE(std::exp(static_cast<double>(x)) / sum, before);
    }
  }
}

}  // namespace
}  // namespace halftone::eval
