#include "halftone/eval/damage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halftone/base/threads.h"
#include "halftone/eval/test_source.h"

namespace halftone::eval {
namespace {

using ::testing::HasSubstr;
using testing_eval::ToySource;

// Three units: all of the damage is in the second, the third makes it worse where it is alone.
TEST(Damage, IsLaidAtTheUnitThatDoesIt) {
  ThreadPool pool(1);
  Context context;
  context.pool = &pool;
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 64; ++i) ids.push_back(i * 7 % 31);
  const Protocol protocol = gptq_windows(64, 32);
  ToySource reference(31, 0, 8), quantized(31, 0.5, 8);
  const std::vector<std::string> units = {"nothing", "all of it", "more"};
  std::vector<std::pair<size_t, bool>> asked;
  const Damage found = damage(
      reference, quantized, units,
      [&](size_t unit, bool only) {
        asked.emplace_back(unit, only);
        const double noise = unit == 2 ? (only ? 1.0 : 0.7) : (unit == 1) == only ? 0.5 : 0.0;
        return std::make_unique<ToySource>(31, noise, 8);
      },
      ids, protocol, context);
  EXPECT_EQ(asked.size(), 6u);
  EXPECT_GT(found.whole.kl_mean, 0);
  EXPECT_EQ(found.units[0].only, 0);
  EXPECT_EQ(found.units[0].without, found.whole.kl_mean);
  EXPECT_EQ(found.units[0].saved, 0);
  EXPECT_EQ(found.units[1].only, found.whole.kl_mean);
  EXPECT_EQ(found.units[1].without, 0);
  EXPECT_EQ(found.units[1].saved, 1);
  EXPECT_GT(found.units[2].only, found.whole.kl_mean);
  EXPECT_LT(found.units[2].saved, 0);
}

TEST(Damage, HiddenStatesAreComparedTokenByToken) {
  Matrix<float> a(3, 2), b(3, 2);
  a.data = {3, 4, 0, 5, 1000, 0};
  b.data = {3, 4, 0, 6, 0, 0};  // off by 0, 0.2 and all of a massive row
  EXPECT_DOUBLE_EQ(median_row_error(a, b), 0.2);
  EXPECT_EQ(first_divergence(std::vector<double>{0.01, 0.05, 0.2, 0.09}), 2);
  EXPECT_EQ(first_divergence(std::vector<double>{0.01, 0.05}), std::nullopt);
}

}  // namespace
}  // namespace halftone::eval
