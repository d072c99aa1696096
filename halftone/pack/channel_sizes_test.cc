#include "halftone/pack/channel_sizes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <span>

namespace halftone::pack {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

TEST(ChannelSizes, OfWeightsAreTheLargestOfEveryColumn) {
  Matrix<float> m(3, 5);  // largest: 5, 1, 4, 2, 3
  m.data = {-5, 1, 0, 2, 3, 0, -1, 4, 0, 0, 1, 0, std::numeric_limits<float>::quiet_NaN(), -2, 0};
  const ChannelSizes out = channel_sizes(m, ChannelMeasure::largest);
  // numpy.percentile([1, 2, 3, 4, 5], [1, 25, 50, 75, 99])
  EXPECT_DOUBLE_EQ(out.p1, 1.04);
  EXPECT_DOUBLE_EQ(out.q1, 2);
  EXPECT_DOUBLE_EQ(out.median, 3);
  EXPECT_DOUBLE_EQ(out.q3, 4);
  EXPECT_DOUBLE_EQ(out.p99, 4.96);
  EXPECT_THAT(out.worst, ElementsAre(Pair(0, 5), Pair(2, 4), Pair(4, 3), Pair(3, 2), Pair(1, 1)));
  EXPECT_THAT(channel_sizes(Matrix<float>(2, 0), ChannelMeasure::largest).worst, IsEmpty());
}

TEST(ChannelSizes, OfActivationsAreRootMeanSquaresAndThoseBeyondSixMediansStandOut) {
  Matrix<float> m(4, 9);
  for (int64_t r = 0; r < 4; ++r)
    for (int64_t k = 0; k < 9; ++k) {
      const float size = k == 2 ? 7.0f : k == 5 ? 20.0f : k == 6 ? 6.0f : k == 8 ? 0.5f : 1.0f;
      m.at(r, k) = r % 2 == 0 ? size : -size;
    }
  const ChannelSizes out = channel_sizes(m, ChannelMeasure::root_mean_square);
  EXPECT_DOUBLE_EQ(out.ratio, 20);
  EXPECT_EQ(out.count, 2);
  // numpy.percentile([1, 1, 7, 1, 1, 20, 6, 1, 0.5], [1, 25, 50, 75, 99])
  EXPECT_DOUBLE_EQ(out.p1, 0.54);
  EXPECT_DOUBLE_EQ(out.q1, 1);
  EXPECT_DOUBLE_EQ(out.median, 1);
  EXPECT_DOUBLE_EQ(out.q3, 6);
  EXPECT_NEAR(out.p99, 18.96, 1e-12);
  ASSERT_EQ(out.worst.size(), 8u);
  EXPECT_THAT(std::span(out.worst).first(3), ElementsAre(Pair(5, 20), Pair(2, 7), Pair(6, 6)));
}

}  // namespace
}  // namespace halftone::pack
