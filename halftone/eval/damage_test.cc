#include "halftone/eval/damage.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "halftone/base/threads.h"
#include "halftone/eval/test_source.h"

namespace halftone::eval {
namespace {

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
  LogitSource* const candidate = &quantized;
  const double whole = divergence(reference, {&candidate, 1}, ids, protocol, context)[0].kl_mean;
  EXPECT_GT(whole, 0);
  const std::vector<DamageUnit> units = {{"nothing"}, {"all of it", 3}, {"more"}};
  int64_t asked = 0;
  const auto mixed = [&](size_t unit, bool only) {
    ++asked;
    const double noise = unit == 2 ? (only ? 1.0 : 0.7) : (unit == 1) == only ? 0.5 : 0.0;
    return std::make_unique<ToySource>(31, noise, 8);
  };
  std::vector<double> work;
  context.progress = [&](const Progress& p) {
    EXPECT_EQ(p.total, 5);
    work.push_back(p.done);
  };
  std::map<uint64_t, Json> kept;
  const RunMemory memory{.find = [&](uint64_t key) -> std::optional<Json> {
                           const auto found = kept.find(key);
                           return found == kept.end() ? std::nullopt : std::optional(found->second);
                         },
                         .keep = [&](uint64_t key, const Json& value) { kept[key] = value; }};
  const auto found = unit_damage(reference, whole, units, mixed, ids, protocol, context, memory);
  EXPECT_EQ(asked, 6);
  EXPECT_EQ(found[0].only, 0);
  EXPECT_EQ(found[0].without, whole);
  EXPECT_EQ(found[0].saved, 0);
  EXPECT_EQ(found[1].only, whole);
  EXPECT_EQ(found[1].without, 0);
  EXPECT_EQ(found[1].saved, 1);
  EXPECT_GT(found[2].only, whole);
  EXPECT_LT(found[2].saved, 0);
  EXPECT_TRUE(std::is_sorted(work.begin(), work.end()));
  EXPECT_EQ(work.back(), 5);

  // A run that knows one of them walks the others, and ends the same to the last bit.
  for (auto& [key, value] : kept) value = parse_json(value.dump(), "journal");
  kept.erase(kept.begin());
  const auto again = unit_damage(reference, whole, units, mixed, ids, protocol, context, memory);
  EXPECT_EQ(asked, 8);
  EXPECT_EQ(again, found);
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
