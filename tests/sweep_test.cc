// halftone sweep as its users meet it: texts that depend neither on batch, threads nor on being cut
// short, shards, and what is refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "tests/process.h"

namespace halftone::tests {
namespace {

using testing::HasSubstr;

class Sweep : public testing::Test {
 protected:
  void SetUp() override {
    if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
    write("prompts.txt", "Once upon a time\n\nThe cat\n");
  }
  std::vector<std::string> words(const std::string& out, std::vector<std::string> more,
                                 const std::string& prompts) const {
    std::vector<std::string> all = {"sweep",
                                    join_path(data_dir(), "models/stories260k"),
                                    "--prompts",
                                    scratch.path(prompts),
                                    "-o",
                                    scratch.path(out),
                                    "--lengths",
                                    "20,600",
                                    "--temperatures",
                                    "0.5,1",
                                    "--top-k",
                                    "1,20"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  Outcome sweep(const std::string& out, std::vector<std::string> more = {},
                const std::string& prompts = "prompts.txt") const {
    return halftone(words(out, std::move(more), prompts));
  }
  std::string read(const std::string& name) const {
    return env->read_text(scratch.path(name), 1 << 28);
  }
  void write(const std::string& name, const std::string& text) const {
    write_atomically(*env, scratch.path(name), text);
  }
  // The samples without what a clock says.
  std::string timeless(const std::string& name) const {
    std::istringstream lines(read(name));
    std::string out;
    for (std::string line; std::getline(lines, line);) {
      Json json = parse_json(line, name);
      json.erase("seconds");
      json.erase("tok_s");
      out += json.dump() + "\n";
    }
    return out;
  }
  std::unique_ptr<Env> env = posix_env();
  Scratch scratch;
};

TEST_F(Sweep, TextsDependOnNothingButThePoint) {
  Outcome first =
      sweep("one", {"--batch", "1", "--threads", "1", "--json", "--speed-samples", "3"});
  ASSERT_EQ(first.exit, 0) << first.err;
  const Json result = parse_json(first.out, "out"), model = result["models"][0];
  EXPECT_EQ(model["summary"]["samples"], 16);
  EXPECT_EQ(model["summary"]["clamped"], 8);  // 600 tokens do not fit a context of 512
  EXPECT_EQ(model["summary"]["identical"]["groups"], 4);
  EXPECT_TRUE(model["summary"]["identical"]["differing"].empty());
  EXPECT_EQ(result["empty_lines"], 1);
  EXPECT_GT(model["one_at_a_time"]["min_tok_s"], 0);
  EXPECT_GT(model["peak_rss_bytes"], 0);
  EXPECT_THAT(read("one/index.html"), HasSubstr("<svg"));
  const std::string wanted = timeless("one/stories260k.jsonl");

  ASSERT_EQ(sweep("many", {"--batch", "16", "--threads", "2", "--speed-samples", "0"}).exit, 0);
  EXPECT_EQ(timeless("many/stories260k.jsonl"), wanted);

  // Cut in the middle of a line, as a kill leaves it.
  const std::string whole = read("many/stories260k.jsonl");
  write("many/stories260k.jsonl", whole.substr(0, whole.size() / 2));
  const Outcome again = sweep("many", {"--speed-samples", "0"});
  EXPECT_THAT(again.err, HasSubstr("samples are there already"));
  EXPECT_EQ(timeless("many/stories260k.jsonl"), wanted);

  ASSERT_EQ(sweep("parts", {"--shard", "2/2"}).exit, 0);
  ASSERT_EQ(sweep("parts", {"--shard", "1/2"}).exit, 0);
  const Outcome joined = sweep("parts", {"--speed-samples", "0"});
  EXPECT_THAT(joined.err, HasSubstr("16 samples are there already, 16 of them out of shards"));
  EXPECT_EQ(timeless("parts/stories260k.jsonl"), wanted);
}

TEST_F(Sweep, RefusalsNameFileLineAndRemedy) {
  const auto refused = [&](const std::string& text, int exit, const std::string& part) {
    write("bad.jsonl", text);
    const Outcome outcome = sweep("bad", {}, "bad.jsonl");
    EXPECT_EQ(outcome.exit, exit) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("bad.jsonl: " + part));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  };
  refused("{\"prompt\": \"a\"}\n{\"prompt\"\n", 3, "line 2: not valid JSON");
  refused("{\"prompt\": \"a\"}\n{\"text\": \"a\"}\n", 3,
          "line 2: has no \"prompt\" that is text; write");
  refused("{\"prompt\": \"a\"}\n\n{\"prompt\": \"a\"}\n", 3,
          "line 3: is the prompt of line 1 again; take it out");
  refused("\n\n", 3, "has no prompts; write one per line");
  std::string longer = "{\"prompt\": \"";
  for (int i = 0; i < 600; ++i) longer += "word ";
  refused(longer + "\"}\n", 3, "line 1: has ");
  const Outcome range = sweep("bad", {"--shard", "3/2"});
  EXPECT_EQ(range.exit, 2);
  EXPECT_THAT(range.err, HasSubstr("--shard 3/2: is no shard; write 1/4 to 4/4"));
}

TEST_F(Sweep, AnEmptyPromptNeedsATokenizerThatBegins) {
  const std::string model = join_path(data_dir(), "models/stories260k");
  write("empty.jsonl", "{\"prompt\": \"Once\"}\n{\"prompt\": \"\"}\n");
  const Outcome begins = sweep("begins", {"--speed-samples", "0"}, "empty.jsonl");  // with BOS
  EXPECT_EQ(begins.exit, 0) << begins.err;
  EXPECT_EQ(parse_json(read("begins/summary.json"), "summary")["points"], 16);

  env->make_directories(scratch.path("m"));
  for (const std::string name : {"config.json", "model.safetensors"})
    write("m/" + name, env->read_text(join_path(model, name), 1 << 26));
  Json tokenizer = parse_json(env->read_text(join_path(model, "tokenizer.json"), 1 << 26), "file");
  tokenizer["post_processor"] = nullptr;
  write("m/tokenizer.json", tokenizer.dump());
  const Outcome none = halftone({"sweep", scratch.path("m"), "--prompts",
                                 scratch.path("empty.jsonl"), "-o", scratch.path("none")});
  EXPECT_EQ(none.exit, 3) << none.err;
  EXPECT_THAT(none.err, HasSubstr("empty.jsonl: line 2: has no tokens: it is empty, and the "
                                  "tokenizer of " +
                                  scratch.path("m") +
                                  " adds no BOS; write at least one word, or take the line out"));
}

// By Ctrl-C, which says how to go on, or twice by kill -9: before the first sample and later.
TEST_F(Sweep, AStoppedRunGoesOnAndEndsTheSame) {
  const std::vector<std::string> more = {"--samples", "2",         "--speed-samples",
                                         "0",         "--threads", "1"};
  ASSERT_EQ(sweep("whole", more).exit, 0);
  for (const int signal : {SIGINT, SIGKILL}) {
    const std::string out = signal == SIGINT ? "stopped" : "killed";
    const StoppedRun run = stopped_and_resumed(
        words(out, more, "prompts.txt"),
        {.folder = scratch.path(out), .most = signal == SIGINT ? 1 : 2, .signal = signal});
    ASSERT_GE(run.stopped.size(), 1u);
    if (signal == SIGINT) {
      EXPECT_THAT(run.stopped[0].err, HasSubstr("the same command goes on where this one stopped"));
    }
    EXPECT_EQ(run.last.exit, 0) << run.last.err;
    EXPECT_EQ(timeless(out + "/stories260k.jsonl"), timeless("whole/stories260k.jsonl"));
  }
}

}  // namespace
}  // namespace halftone::tests
