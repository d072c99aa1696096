#include "halftone/pack/weight_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "halftone/base/env.h"
#include "halftone/base/threads.h"
#include "halftone/pack/test_wrapped.h"

namespace halftone::pack {
namespace {

using ::testing::Pair;

TEST(Histogram, CountsEveryValueInUnitsOfTheRootMeanSquare) {
  const std::vector<float> values = {1, -1, 1, -1, 0.25f};  // rms 0.9014
  const Histogram h = histogram(values);
  EXPECT_NEAR(h.rms, std::sqrt(4.0625 / 5), 1e-12);
  EXPECT_EQ(std::accumulate(h.counts.begin(), h.counts.end(), int64_t{0}), 5);
  EXPECT_EQ(h.counts[18], 2);  // 1 / 0.9014 = 1.109, bins of 0.5 from -8
  EXPECT_EQ(h.counts[13], 2);
  EXPECT_EQ(h.counts[16], 1);
  // Of 400 values one is far out: beyond the last bin, and counted there.
  std::vector<float> far(400, 1.0f);
  far[7] = 1000;
  EXPECT_EQ(histogram(far).counts.back(), 1);
}

// Weights changed in known ways, by op.
TEST(WeightErrors, AreRelativeToTheReferenceAndSayWhatIsNotFinite) {
  const auto env = posix_env();
  ThreadPool pool(2);
  Context context;
  context.env = env.get();
  context.pool = &pool;
  const auto dense = open_model(
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/llama_mha_tied", context);
  const testing::Edited changed(dense, [](spec::Role role, Matrix<float>& w) {
    if (role == spec::Role::query)
      for (float& v : w.data) v *= 1.25f;
    if (role == spec::Role::key) w.data[3] = std::numeric_limits<float>::quiet_NaN();
    if (role == spec::Role::mlp_down) w.at(1, 7) = -1000;
  });
  int64_t queries = 0, keys = 0, downs = 0;
  const PackedModel* const models[] = {dense.get(), &changed};
  const auto rows = weight_errors(models, dense.get(), context);
  for (const WeightError& row : rows[0]) {
    EXPECT_EQ(row.relative, 0) << row.op;
    EXPECT_LT(row.inputs.worst[0].second, 100) << row.op;
  }
  for (const WeightError& row : rows[1]) {
    EXPECT_FALSE(row.refused) << row.op;
    if (row.role == "query") {
      EXPECT_NEAR(row.relative, 0.25, 1e-6) << row.op;
      ++queries;
    } else if (row.role == "key") {
      EXPECT_EQ(row.not_finite, 1) << row.op;
      EXPECT_GT(row.relative, 0) << row.op;
      EXPECT_LT(row.relative, 1) << row.op;
      ++keys;
    } else if (row.role == "mlp_down") {
      EXPECT_EQ(row.block, downs++);
      EXPECT_THAT(row.inputs.worst[0], Pair(7, 1000));
      EXPECT_LT(row.inputs.median, 100);
    } else {
      EXPECT_EQ(row.relative, 0) << row.op;
    }
  }
  EXPECT_EQ(queries, std::ssize(dense->checkpoint().spec.blocks));
  EXPECT_EQ(keys, queries);
  EXPECT_EQ(downs, queries);
}

}  // namespace
}  // namespace halftone::pack
