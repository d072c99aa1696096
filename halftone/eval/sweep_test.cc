// The generation study without a model: statistics against texts counted by hand, files that are
// cut at every byte, shards.
#include "halftone/eval/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/eval/sweep_summary.h"
#include "halftone/files/test_files.h"

namespace halftone::eval {
namespace {

using ::testing::HasSubstr;
using Words = std::vector<std::string>;

TEST(TextStatistics, AreThoseCountedByHand) {
  const WordSet stop_words = {"the", "a", "and"};
  const Words prompt = {"the", "red", "cat"},
              text = {"the", "cat", "and", "the", "cat", "and", "a", "red", "dog", "dog"};
  const TextStatistics s = text_statistics(prompt, text, stop_words);
  EXPECT_EQ(s.words, 10);
  EXPECT_EQ(s.content_words, 5);  // cat cat red dog dog
  EXPECT_EQ(s.duplicates, 2);
  EXPECT_EQ(s.duplicates_per_content_word, 2.0 / 5);
  EXPECT_EQ(s.distinct_1, 6.0 / 10);
  EXPECT_EQ(s.distinct_2, 7.0 / 9);  // the cat, cat and: twice
  EXPECT_EQ(s.distinct_3, 7.0 / 8);  // the cat and: twice
  // repeated of distinct: 4 of 6 words, 2 of 7 pairs, 1 of 7 triples, no four
  EXPECT_EQ(s.repetition_rate, 0);
  // (cat 2, red 1, dog 2) . (red 1, cat 1)
  EXPECT_DOUBLE_EQ(*s.prompt_similarity, 3 / std::sqrt(9.0 * 2.0));
}

TEST(TextStatistics, AFullRepetitionRepeatsEverything) {
  Words text;
  for (int i = 0; i < 3; ++i)
    for (const char* word : {"one", "two", "three", "four"}) text.emplace_back(word);
  const TextStatistics s = text_statistics({}, text, {});
  EXPECT_EQ(s.duplicates, 8);
  EXPECT_EQ(s.repetition_rate, 1);
  EXPECT_EQ(s.distinct_3, 4.0 / 10);
  EXPECT_FALSE(s.prompt_similarity.has_value());
}

TEST(TextStatistics, RatiosOfNothingAreEmpty) {
  const TextStatistics s = text_statistics(Words{"a"}, Words{"the"}, {"the"});
  EXPECT_EQ(s.words, 1);
  EXPECT_FALSE(s.duplicates_per_content_word || s.distinct_2 || s.repetition_rate ||
               s.prompt_similarity);
  EXPECT_EQ(statistics_json(s)["distinct_2"], nullptr);
}

SweepGrid small_grid() {
  return {.prompts = {"ab", "c"},
          .lengths = {5, 20},
          .temperatures = {0.5, 1.0},
          .top_ks = {1, 3},
          .samples = 1};
}

// What a model would have written: fixed by the point, as there.
Json made(const SweepGrid& grid, int64_t index) {
  const SweepPoint p = sweep_point(grid, index);
  const bool greedy = grid.top_ks[static_cast<size_t>(p.top_k)] == 1;
  const std::string text = greedy ? "g" + std::to_string(p.prompt) + std::to_string(p.length)
                                  : "s\n\"" + std::to_string(sweep_seed(grid, p) % 1000);
  Json out = {{"text", text}, {"tokens", text.size()}, {"stop", "length"}};
  out.update(statistics_json(text_statistics({}, Words{text, text}, {})));
  out["seconds"] = 0.25;
  return out;
}

class SweepFiles : public ::testing::Test {
 protected:
  std::string path(const std::string& name) const { return folder.in(name); }
  std::string read(const std::string& name) { return env->read_text(path(name), 1 << 20); }
  SweepFile open(const std::string& name, bool fresh = false) {
    return SweepFile(*env, path(name), small_grid(), about, fresh);
  }
  void fill(SweepFile& file, const SweepShard& shard = {}) {
    for (const int64_t i : file.missing(shard)) file.add(i, made(small_grid(), i));
    file.finish();
  }
  std::unique_ptr<Env> env = posix_env();
  std::string journal;
  files::testing_files::TempFolder folder;
  Json about = {{"model", {{"name", "m"}, {"content", "0123"}}}, {"mode", "exact"}};
};

TEST(SweepGrid, TheSeedIsAHashOfThePointAlone) {
  SweepGrid grid = small_grid();
  const SweepPoint p = sweep_point(grid, 11);
  EXPECT_EQ(grid.prompts[static_cast<size_t>(p.prompt)], "c");
  const uint64_t seed = sweep_seed(grid, p);
  std::vector<uint64_t> all;
  for (int64_t i = 0; i < grid.size(); ++i) all.push_back(sweep_seed(grid, sweep_point(grid, i)));
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
  grid.prompts.insert(grid.prompts.begin(), "another");  // the same point at another place
  EXPECT_EQ(sweep_seed(grid, {p.prompt + 1, p.length, p.temperature, p.top_k, 0}), seed);
  SweepGrid study;
  study.prompts = default_prompts();
  validate(study);
  EXPECT_EQ(study.size(), 6300);
}

// Two samples, the second of the grid first; every open and every end is synced to the disk.
TEST_F(SweepFiles, CutAtAnyByteEndsWithTheSameFile) {
  const SweepGrid grid = {
      .prompts = {"p"}, .lengths = {5, 20}, .temperatures = {1}, .top_ks = {3}, .samples = 1};
  const auto go = [&](size_t missing) {
    SweepFile file(*env, path("m.jsonl"), grid, {{"model", "m"}}, false);
    ASSERT_EQ(file.missing().size(), missing);
    for (const int64_t i : file.missing()) file.add(i, {{"text", "t\n\"" + std::to_string(i)}});
    if (missing == 2) journal = read("m.jsonl");
    file.finish();
  };
  go(2);
  const std::string cut_up = journal, wanted = read("m.jsonl");
  ASSERT_NE(cut_up, wanted);
  for (size_t cut = 0; cut <= cut_up.size(); ++cut) {
    folder.write("m.jsonl", cut_up.substr(0, cut));
    const auto lines = std::count(cut_up.begin(), cut_up.begin() + static_cast<int64_t>(cut), '\n');
    go(static_cast<size_t>(3 - std::max<int64_t>(1, lines)));
    ASSERT_EQ(read("m.jsonl"), wanted) << "cut at " << cut;
  }
}

TEST_F(SweepFiles, ShardsJoinedAreTheWhole) {
  {
    SweepFile whole = open("whole.jsonl");
    fill(whole);
  }
  for (int64_t i = 1; i <= 3; ++i) {
    const SweepShard shard{i, 3};
    SweepFile file = open("m" + shard.suffix() + ".jsonl");
    if (i == 2)  // a broken one: one sample, and half of another
      file.add(file.missing(shard)[0], made(small_grid(), file.missing(shard)[0]));
    else
      fill(file, shard);
  }
  const std::string broken = path("m.shard-2-of-3.jsonl");
  write_atomically(*env, broken, env->read_text(broken, 1 << 20) + "{\"index\": 4, ");
  SweepFile file = open("m.jsonl");
  EXPECT_EQ(file.adopt_shards(), 12);
  EXPECT_EQ(file.missing().size(), 4u);
  fill(file);
  EXPECT_EQ(read("m.jsonl"), read("whole.jsonl"));
}

TEST_F(SweepFiles, AnotherRunAndBrokenLinesAreRefused) {
  const auto refusal = [&](const std::string& text) {
    write_atomically(*env, path("m.jsonl"), text);
    try {
      open("m.jsonl");
    } catch (const Error& e) {
      return e.line();
    }
    return std::string("accepted");
  };
  {
    SweepFile file = open("m.jsonl");
    fill(file);
  }
  const std::string good = read("m.jsonl");
  EXPECT_EQ(refusal(good), "accepted");
  about["model"]["content"] = "4567";
  EXPECT_THAT(refusal(good), HasSubstr("differs in model.content; --fresh"));
  EXPECT_EQ(open("m.jsonl", true).missing().size(), 16u);
  about["model"]["content"] = "0123";
  const size_t second = good.find('\n', good.find('\n') + 1) + 1;
  EXPECT_THAT(refusal(good + good.substr(good.find('\n') + 1, second - good.find('\n') - 1)),
              HasSubstr("line 18: has sample 0 again; remove the line"));
  std::string other = good;
  other.replace(other.find("\"seed\":") + 7, 1, "9");
  EXPECT_THAT(refusal(other), HasSubstr("line 2: its seed is not that of sample 0"));
  EXPECT_THAT(refusal(good.substr(0, second) + "{]\n" + good.substr(second)), HasSubstr("line 3"));
}

TEST_F(SweepFiles, SummariesListGreedyCellsAndPairModels) {
  SweepFile file = open("m.jsonl");
  fill(file);
  std::vector<Json> samples = file.samples();
  const Json summary = sweep_summary(small_grid(), samples);
  EXPECT_EQ(summary["identical"], (Json{{"groups", 4},
                                        {"samples", 8},
                                        {"differing", Json::array()},
                                        {"cells",
                                         {{{"prompt", 0}, {"length", 5}},
                                          {{"prompt", 0}, {"length", 20}},
                                          {{"prompt", 1}, {"length", 5}},
                                          {{"prompt", 1}, {"length", 20}}}}}));
  EXPECT_EQ(summary["mean"]["distinct_1"]["mean"], 0.5);
  EXPECT_EQ(summary["mean"]["distinct_3"]["without"], 16);
  EXPECT_EQ(summary["stops"]["length"], 16);
  // The planes of each length have the plane over all lengths as their mean: every cell holds as many.
  const std::string key = "duplicates_per_content_word";
  const Json &cube = summary["by_length_temperature_top_k"][key],
             &plane = summary["temperature_top_k"][key];
  ASSERT_EQ(cube.size(), 2u);
  for (size_t t = 0; t < plane.size(); ++t)
    for (size_t k = 0; k < plane[t].size(); ++k)
      EXPECT_DOUBLE_EQ((cube[0][t][k].get<double>() + cube[1][t][k].get<double>()) / 2,
                       plane[t][k].get<double>());
  std::vector<Json> changed = samples;
  changed[2]["text"] = "other";  // prompt 0, length 0, the second temperature, greedy
  changed[2]["duplicates"] = 17;
  EXPECT_EQ(sweep_summary(small_grid(), changed)["identical"]["differing"], Json::array({0}));
  const Json difference = sweep_difference(small_grid(), samples, changed);
  EXPECT_EQ(difference["duplicates"]["mean"], 1);  // 16 more in one of 16
  EXPECT_EQ(difference["same_text"], 15.0 / 16);
}

}  // namespace
}  // namespace halftone::eval
