// The default model against what transformers computes with it (tests/fixtures/smollm2), where
// ./setup has put it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/test_support.h"
#include "halftone/spec/model_names.h"

namespace halftone::runtime {
namespace {

using testing::Bench;
using testing::fixture;
using testing::Recorded;

// Derived in tests/fixtures/smollm2/README.md for any float32 engine: 60 float32 outputs added to
// the stream, 5 sigma.
constexpr double kTolerance = 7e-4;

class SmolLM2 : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string path = join_path(spec::cache_folder(), spec::named_models()[0].path);
    if (!bench_.env->stat(path)) GTEST_SKIP() << "no " << path << " (./setup puts it there)";
  }
  Bench bench_;
};

double logsumexp(std::span<const float> row) {
  double top = row[0], sum = 0;
  for (const float v : row) top = std::max(top, static_cast<double>(v));
  for (const float v : row) sum += std::exp(static_cast<double>(v) - top);
  return top + std::log(sum);
}

TEST_F(SmolLM2, ExactModeGivesTheLogitsOfTransformers) {
  const Recorded recorded(fixture("smollm2/logits.safetensors"), bench_.context);
  RuntimeLogits source(bench_.load("smollm2"), {}, bench_.context);
  for (const std::string prompt : {"prose", "code", "chat"}) {
    const auto ids = recorded.ids(prompt + ".ids"), top_ids = recorded.ids(prompt + ".top_ids");
    const auto top = recorded.floats(prompt + ".top_logits_exact"),
               sums = recorded.floats(prompt + ".logsumexp_exact");
    const auto last = recorded.floats(prompt + ".last_logits");
    double worst = 0, worst_sum = 0, worst_last = 0;
    int64_t same_argmax = 0;
    source.each_row(ids, 0, [&](int64_t t, std::span<const float> row) {
      for (int64_t i = 0; i < 8; ++i) {
        const auto at = static_cast<size_t>(8 * t + i);
        worst =
            std::max(worst, std::abs(static_cast<double>(row[static_cast<size_t>(top_ids[at])]) -
                                     static_cast<double>(top[at])));
      }
      worst_sum = std::max(
          worst_sum, std::abs(logsumexp(row) - static_cast<double>(sums[static_cast<size_t>(t)])));
      same_argmax += std::max_element(row.begin(), row.end()) - row.begin() ==
                     top_ids[static_cast<size_t>(8 * t)];
      if (t + 1 == static_cast<int64_t>(ids.size()))
        worst_last = testing::max_difference(row, last);
    });
    EXPECT_LE(worst, kTolerance) << prompt;
    EXPECT_LE(worst_sum, kTolerance) << prompt;
    EXPECT_LE(worst_last, 2 * kTolerance) << prompt;  // the recorded row is itself a float32 run
    EXPECT_EQ(same_argmax, static_cast<int64_t>(ids.size())) << prompt;
    std::printf("%s: %zu tokens, logits within %.1e, logsumexp within %.1e, last row within %.1e\n",
                prompt.c_str(), ids.size(), worst, worst_sum, worst_last);
  }
}

}  // namespace
}  // namespace halftone::runtime
