#include "halftone/pack/channel_ranges.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "halftone/base/env.h"
#include "halftone/base/threads.h"
#include "halftone/pack/test_wrapped.h"

namespace halftone::pack {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(ChannelRange, IsOfTheLargestWeightOfEveryColumn) {
  Matrix<float> m(3, 5);  // largest: 5, 1, 4, 2, 3
  m.data = {-5, 1, 0, 2, 3, 0, -1, 4, 0, 0, 1, 0, std::numeric_limits<float>::quiet_NaN(), -2, 0};
  const ChannelRange range = channel_range(m);
  // numpy.percentile([1, 2, 3, 4, 5], [1, 25, 50, 75, 99])
  EXPECT_DOUBLE_EQ(range.p1, 1.04);
  EXPECT_DOUBLE_EQ(range.q1, 2);
  EXPECT_DOUBLE_EQ(range.median, 3);
  EXPECT_DOUBLE_EQ(range.q3, 4);
  EXPECT_DOUBLE_EQ(range.p99, 4.96);
  EXPECT_THAT(range.worst, ElementsAre(Pair(0, 5), Pair(2, 4), Pair(4, 3), Pair(3, 2), Pair(1, 1)));
  EXPECT_THAT(channel_range(Matrix<float>(2, 0)).worst, ElementsAre());
}

// One channel of one linear is made larger than all others.
TEST(ChannelRanges, NameTheChannelThatStandsOut) {
  const auto env = posix_env();
  ThreadPool pool(2);
  Context context;
  context.env = env.get();
  context.pool = &pool;
  const auto dense = open_model(
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/llama_mha_tied", context);
  const testing::Edited spiked(dense, [](spec::Role role, Matrix<float>& w) {
    if (role == spec::Role::mlp_down) w.at(1, 7) = -1000;
  });
  const auto& spec = dense->checkpoint().spec;
  const auto ranges = channel_ranges(spiked, context);
  ASSERT_EQ(ranges.size(), spec::linears(spec).size());
  int64_t downs = 0;
  for (const LinearRange& row : ranges) {
    if (row.role != "mlp_down") {
      EXPECT_LT(row.range.worst[0].second, 100) << row.op;
      continue;
    }
    EXPECT_EQ(row.block, downs++);
    EXPECT_THAT(row.range.worst[0], Pair(7, 1000));
    EXPECT_LT(row.range.median, 100);
  }
  EXPECT_EQ(downs, std::ssize(spec.blocks));
}

}  // namespace
}  // namespace halftone::pack
