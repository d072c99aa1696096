#include "halftone/eval/overlap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "halftone/base/rng.h"

namespace halftone::eval {
namespace {

TEST(Overlap, IsAllOfATextThatWasSeenAndNothingOfAnother) {
  std::vector<int32_t> text(300), other(200);
  std::iota(text.begin(), text.end(), 0);
  std::iota(other.begin(), other.end(), 1000);
  TokenRuns seen;
  EXPECT_EQ(seen.in(text).shared, 0);
  seen.add(other);
  EXPECT_EQ(seen.in(text).shared, 0);
  seen.add(text);
  EXPECT_EQ(seen.in(text).places, 285);
  EXPECT_EQ(seen.in(text).shared, 285);
  EXPECT_EQ(seen.in(text).share(), 1);
  EXPECT_EQ(seen.in(std::span(text).first(15)).places, 0);
  // Two pieces that meet in the middle: the 15 runs across the seam are in neither.
  TokenRuns pieces;
  pieces.add(std::span(text).first(100));
  pieces.add(std::span(text).subspan(100));
  EXPECT_EQ(pieces.in(text).shared, 270);
}

// Two tokens, one of them rare, so that chance repeats runs: against looking at every pair of places.
TEST(Overlap, CountsWhatASearchOfAllPairsFinds) {
  const CounterRng rng(3);
  std::vector<int32_t> seen(240), text(400);
  uint64_t at = 0;
  for (auto* ids : {&seen, &text})
    for (int32_t& id : *ids) id = rng.u32(at++) % 5 == 0;
  int64_t expected = 0;
  for (auto t = text.begin(); text.end() - t >= kOverlapTokens; ++t)
    expected += std::search(seen.begin(), seen.end(), t, t + kOverlapTokens) != seen.end();
  TokenRuns runs;
  runs.add(seen);
  EXPECT_GT(expected, 0);
  EXPECT_EQ(runs.in(text).shared, expected);
}

}  // namespace
}  // namespace halftone::eval
