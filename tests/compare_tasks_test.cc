// halftone compare --tasks as its users meet it: every model answers once, changes are paired, runs
// that are stopped go on. The statistics are held against known answers in eval/scores_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "tests/process.h"
#include "tests/support/piqa_lines.h"

namespace halftone::tests {
namespace {

using testing::HasSubstr;
using testing::Not;

const std::string kData = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/eval/data";

class CompareTasks : public testing::Test {
 protected:
  void SetUp() override {
    if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
    model = join_path(data_dir(), "models/stories260k");
    small = scratch.path("int2");
    ASSERT_EQ(halftone({"quantize", model, "--recipe", "rtn_int2_g16", "-o", small, "--quiet",
                        "--no-measure"})
                  .exit,
              0);
    write("text.txt", "Once upon a time there was a little girl named Lily.\n");
  }
  std::vector<std::string> words(std::vector<std::string> more,
                                 const std::string& data = kData) const {
    std::vector<std::string> out = {
        "compare",  model, small,       "--data", data,        "--text", scratch.path("text.txt"),
        "--window", "16",  "--windows", "1",      "--no-speed"};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  Json result(const Outcome& outcome) const {
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    return parse_json(outcome.out, "out");
  }
  void write(const std::string& name, const std::string& text) const {
    env->make_directories(parent_path(scratch.path(name)));
    write_atomically(*env, scratch.path(name), text);
  }
  void refused(std::vector<std::string> more, int exit, const std::string& part) const {
    const Outcome outcome = halftone(words(std::move(more)), environment);
    EXPECT_EQ(outcome.exit, exit) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  }

  const std::unique_ptr<Env> env = posix_env();
  const Scratch scratch;
  const std::map<std::string, std::string> environment = {
      {"HALFTONE_CACHE", scratch.path("cache")}};
  std::string model, small;
};

TEST_F(CompareTasks, HoldCandidatesAgainstTheReferenceItemByItem) {
  const std::vector<std::string> options = {
      "--tasks", "piqa,hellaswag,mmlu_anatomy", "--num-fewshot", "1", "--limit", "6,mmlu_anatomy:3",
      "--json"};
  const Outcome first = halftone(words(options), environment);
  const Json found = result(first);
  const Json eval =
      result(halftone({"eval", model, "--data", kData, "--tasks", "piqa,hellaswag,mmlu_anatomy",
                       "--num-fewshot", "1", "--limit", "6", "--json"},
                      environment))["results"];
  EXPECT_EQ(found["tasks"]["hellaswag"]["metric"], "acc_norm");
  EXPECT_EQ(found["tasks"]["mmlu_anatomy"]["limit"], 3);
  EXPECT_FALSE(found["models"][0].contains("tasks"));
  const Json& tasks = found["models"][1]["tasks"];
  ASSERT_EQ(tasks.size(), 3u);
  EXPECT_EQ(tasks[0]["task"], "piqa");
  EXPECT_EQ(tasks[0]["reference"], eval["piqa"]["acc"]);
  EXPECT_EQ(tasks[1]["reference"], eval["hellaswag"]["acc_norm"]);
  EXPECT_EQ(tasks[2]["n"], 3);
  for (const Json& row : tasks) {
    EXPECT_NEAR(row["change"].get<double>(),
                row["value"].get<double>() - row["reference"].get<double>(), 1e-12);
    EXPECT_EQ(row["flipped"].size(), row["lost"].get<size_t>() + row["won"].get<size_t>());
    for (const Json& item : row["flipped"])
      EXPECT_NE(item["reference_choice"] == item["label"], item["choice"] == item["label"]);
    EXPECT_GE(row["p_holm"], row["p_mcnemar"]);
    EXPECT_EQ(row["verdict"], "no difference shown");  // a handful of items shows nothing
    EXPECT_EQ(row["flipped_left_off"], 0);
  }
  // What a model answered is there for the next comparison.
  const Outcome again = halftone(words(options), environment);
  EXPECT_THAT(again.err, HasSubstr("going on with an earlier run: "));
  EXPECT_EQ(result(again)["models"][1]["tasks"], tasks);
  auto fresh = options;
  fresh.emplace_back("--fresh");
  EXPECT_THAT(halftone(words(fresh), environment).err, Not(HasSubstr("going on with")));
  const Outcome text = halftone(words({"--tasks", "piqa"}), environment);
  EXPECT_THAT(text.out, HasSubstr("lost/won"));
  EXPECT_THAT(text.out, HasSubstr("exact McNemar, 0.05 after Holm over 1 task"));
  EXPECT_THAT(text.out, HasSubstr("noise floor: KL "));
}

TEST_F(CompareTasks, MistakesAreOneLine) {
  refused({"--limit", "5"}, 2, "--limit: is for tasks; add --tasks, or leave it out");
  refused({"--full"}, 2, "--windows: is what --full decides; leave one of them out");
  refused({"--tasks", "piqaa"}, 2, "unknown task \"piqaa\"; did you mean piqa?");
  refused({"--tasks", "wikitext2"}, 2, "wikitext2: has no items that are right or wrong");
  refused({"--tasks", "piqa,piqa"}, 2, "piqa is named twice");
  refused({"--tasks", "piqa", "--limit", "piqa:none"}, 2,
          "--limit piqa:none: is no limit; write 200, or hellaswag:1000,mmlu:20");
  refused({"--tasks", "piqa", "--limit", "mmlu:20"}, 2, "mmlu is none of the tasks; tasks: piqa");
  refused({"--tasks", "arc_easy,mmlu"}, 3, "_test.csv: is not in the data folder ");
}

// By Ctrl-C, which says how to go on, or by kill -9; in the first model's tasks or the second's.
TEST_F(CompareTasks, AStoppedRunGoesOnAndEndsTheSame) {
  write("d/piqa/valid.jsonl", piqa_lines(1200));
  const auto all =
      words({"--tasks", "piqa", "--limit", "1000", "--threads", "1", "--json"}, scratch.path("d"));
  const Json whole = result(halftone(all, {{"HALFTONE_CACHE", scratch.path("other")}}));
  for (const int signal : {SIGINT, SIGKILL}) {
    const std::string cache = scratch.path(signal == SIGINT ? "stopped" : "killed");
    const StoppedRun run = stopped_and_resumed(
        all, {.folder = join_path(cache, "eval"), .signal = signal}, {{"HALFTONE_CACHE", cache}});
    ASSERT_EQ(run.stopped.size(), 1u);
    if (signal == SIGINT) {
      EXPECT_THAT(run.stopped[0].err, HasSubstr("the same command goes on where this one stopped"));
    }
    EXPECT_THAT(run.last.err, HasSubstr("going on with an earlier run: "));
    EXPECT_EQ(result(run.last)["models"], whole["models"]);
  }
}

// verify measures quality anew and resumes its tasks.
TEST_F(CompareTasks, AVerifyThatIsKilledGoesOnAndEndsTheSame) {
  write("d/piqa/valid.jsonl", piqa_lines(1000));
  env->make_directories(scratch.path("d/wikitext2"));
  write("d/wikitext2/test.txt", "Once upon a time there was a little girl named Lily.\n");
  const std::string out = scratch.path("measured");
  ASSERT_EQ(halftone({"quantize", model, "--recipe", "rtn_int2_g16", "-o", out, "--quiet", "--data",
                      scratch.path("d"), "--measure-windows", "1"})
                .exit,
            0);
  const std::string file = join_path(out, "measured.json");
  const std::string before = env->read_text(file, 1 << 20);
  const std::vector<std::string> all = {"verify",          out,         "--data",
                                        scratch.path("d"), "--tasks",   "piqa",
                                        "--no-speed",      "--threads", "1"};
  ASSERT_EQ(halftone(all, {{"HALFTONE_CACHE", scratch.path("other")}}).exit, 0);
  const std::string whole = env->read_text(file, 1 << 20);
  write("measured/measured.json", before);
  const StoppedRun run =
      stopped_and_resumed(all, {.folder = scratch.path("cache/eval")}, environment);
  ASSERT_EQ(run.stopped.size(), 1u);
  EXPECT_EQ(run.last.exit, 0) << run.last.err;
  EXPECT_THAT(run.last.err, HasSubstr("going on with an earlier run: "));
  EXPECT_EQ(env->read_text(file, 1 << 20), whole);
  EXPECT_NE(whole, before);
}

}  // namespace
}  // namespace halftone::tests
