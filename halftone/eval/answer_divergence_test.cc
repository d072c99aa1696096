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
  const auto found = answer_divergence(reference, candidate, prompts, answers, Context{});
  ASSERT_EQ(found.size(), 3u);
  EXPECT_TRUE(found[1].empty());
  for (const size_t i : {size_t{0}, size_t{2}}) {
    std::vector<int32_t> all = prompts[i];
    all.insert(all.end(), answers[i].ids.begin(), answers[i].ids.end());
    ASSERT_EQ(found[i].size(), answers[i].ids.size());
    for (size_t t = 0; t < found[i].size(); ++t) {
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
      EXPECT_NEAR(found[i][t], kl, 1e-5) << i << " " << t;
      EXPECT_GT(kl, 0.001);
    }
  }
}

}  // namespace
}  // namespace halftone::eval
