// halftone eval on tasks of items, as its users meet it: what is printed, logged, refused; and runs
// that are killed. The numbers are held against lm-eval in parity/lm_eval_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "tests/process.h"
#include "tests/support/piqa_lines.h"

namespace halftone::tests {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const std::string kData = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/eval/data";

class EvalTasks : public testing::Test {
 protected:
  void SetUp() override {
    if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
  }
  Outcome eval(std::vector<std::string> more, const std::string& data = kData) const {
    std::vector<std::string> words = {"eval", join_path(data_dir(), "models/stories260k"), "--data",
                                      data};
    words.insert(words.end(), more.begin(), more.end());
    return halftone(words, environment);
  }
  Json results(std::vector<std::string> more, const std::string& data = kData) const {
    more.emplace_back("--json");
    const Outcome outcome = eval(std::move(more), data);
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    return parse_json(outcome.out, "out")["results"];
  }
  // Without what a clock says.
  static Json timeless(Json results) {
    for (auto& [name, result] : results.items()) result.erase("seconds");
    return results;
  }
  std::string read(const std::string& name) const {
    return env->read_text(scratch.path(name), 1 << 28);
  }
  void write(const std::string& name, const std::string& text) const {
    env->make_directories(parent_path(scratch.path(name)));
    write_atomically(*env, scratch.path(name), text);
  }
  void refused(const Outcome& outcome, int exit, const std::string& part) const {
    EXPECT_EQ(outcome.exit, exit) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("halftone: error[E_"));
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(outcome.out, "");
  }
  std::vector<std::string> journals() const {
    return env->stat(scratch.path("cache/eval")) ? env->list(scratch.path("cache/eval"))
                                                 : std::vector<std::string>{};
  }

  const std::unique_ptr<Env> env = posix_env();
  const Scratch scratch;
  const std::map<std::string, std::string> environment = {
      {"HALFTONE_CACHE", scratch.path("cache")}};
};

TEST_F(EvalTasks, PrintScoresWithTheirErrorsAndIntervals) {
  const Outcome outcome = eval(
      {"--tasks", "piqa,winogrande,lambada_openai,wikitext,mmlu_anatomy", "--num-fewshot", "0"});
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\n  piqa  acc 0."));
  EXPECT_THAT(outcome.out, HasSubstr(" +- "));
  EXPECT_THAT(outcome.out, HasSubstr("0-shot, 7 items of piqa validation, 2 texts truncated, "));
  EXPECT_THAT(outcome.out, HasSubstr("7 passages of lambada_openai"));
  EXPECT_THAT(outcome.out, HasSubstr("rolling-512, 2 pages of wikitext2 test"));
  EXPECT_THAT(outcome.out, HasSubstr("0-shot, 5 items of 1 subject of mmlu test"));
  EXPECT_THAT(outcome.err, HasSubstr("piqa: 2 of 14 texts are longer than the model's context of "
                                     "512 tokens: they lost their beginning, as in lm-eval"));
}

TEST_F(EvalTasks, GiveTheSameBitsAtAnyNumberOfThreadsAndInAnyCompany) {
  const std::vector<std::string> all = {"--tasks",
                                        "piqa,arc_easy,arc_challenge,hellaswag,winogrande,lambada_"
                                        "openai,mmlu_anatomy,wikitext,wikitext2"};
  const auto with = [&](const std::string& log, std::vector<std::string> more) {
    more.insert(more.end(), all.begin(), all.end());
    more.insert(more.end(), {"--log-samples", scratch.path(log)});
    return timeless(results(more));
  };
  const Json one = with("one", {"--threads", "1"});
  EXPECT_EQ(with("two", {"--threads", "2"}), one);
  EXPECT_EQ(read("two"), read("one"));
  // Item by item alone: fewer texts share a step.
  const Json alone = timeless(
      results({"--tasks", "piqa", "--limit", "1", "--log-samples", scratch.path("alone")}));
  EXPECT_EQ(read("alone"), read("one").substr(0, read("alone").size()));
  EXPECT_EQ(alone["piqa"]["n"], 1);
  EXPECT_TRUE(alone["piqa"]["acc_stderr"].is_null());
  EXPECT_EQ(one["piqa"]["truncated"], 2);
  EXPECT_EQ(one["piqa"]["skipped"], 0);
  EXPECT_EQ(one["arc_easy"]["requests"], 18);
  EXPECT_THAT(journals(), testing::IsEmpty());  // nothing stays behind
}

// All 57 subjects, made of the two at hand.
TEST_F(EvalTasks, MmluWeighsItsSubjectsBySizeInFourGroups) {
  const Json listed =
      results({"--tasks", "mmlu_anatomy,mmlu_world_religions", "--num-fewshot", "2"});
  const Outcome missing = eval({"--tasks", "mmlu"});
  refused(missing, 3, "_test.csv: is not in the data folder ");
  const std::string subjects =
      missing.err.substr(missing.err.find("mmlu/test/") + 10);  // of the first one that is missing
  EXPECT_THAT(subjects, StartsWith("formal_logic_test.csv"));
  // The program names one missing file after the other: what it needs is what it asks for.
  int64_t asked = 0;
  for (;; ++asked) {
    const Outcome outcome =
        eval({"--tasks", "mmlu", "--num-fewshot", "2", "--json"}, scratch.path("d"));
    if (outcome.exit == 0) break;
    ASSERT_LT(asked, 114);
    const size_t begin = outcome.err.find("mmlu/"), end = outcome.err.find(".csv", begin);
    ASSERT_NE(end, std::string::npos) << outcome.err;
    const std::string file = outcome.err.substr(begin, end + 4 - begin);
    const std::string subject =
        file.find("stem") == std::string::npos && asked % 4 < 2 ? "anatomy" : "world_religions";
    const bool dev = file.starts_with("mmlu/dev/");
    write("d/" + file,
          env->read_text(join_path(kData, std::string(dev ? "mmlu/dev/" : "mmlu/test/") + subject +
                                              (dev ? "_dev.csv" : "_test.csv")),
                         1 << 20));
  }
  EXPECT_EQ(asked, 114);
  const Json whole =
      results({"--tasks", "mmlu,mmlu_stem,mmlu_virology", "--num-fewshot", "2"}, scratch.path("d"));
  const Json& mmlu = whole["mmlu"];
  EXPECT_EQ(mmlu["subjects"].size(), 57u);
  ASSERT_EQ(mmlu["groups"].size(), 4u);
  double right = 0;
  int64_t n = 0;
  for (const auto& [name, subject] : mmlu["subjects"].items()) {
    right += subject["acc"].get<double>() * subject["n"].get<double>();
    n += subject["n"].get<int64_t>();
  }
  EXPECT_EQ(mmlu["n"], n);
  EXPECT_NEAR(mmlu["acc"].get<double>(), right / static_cast<double>(n), 1e-12);
  double grouped = 0;
  for (const auto& [name, group] : mmlu["groups"].items())
    grouped += group["acc"].get<double>() * group["n"].get<double>();
  EXPECT_NEAR(grouped, right, 1e-9);
  EXPECT_EQ(whole["mmlu_stem"]["acc"], mmlu["groups"]["stem"]["acc"]);
  EXPECT_EQ(whole["mmlu_stem"]["acc_stderr"], mmlu["groups"]["stem"]["acc_stderr"]);
  EXPECT_EQ(whole["mmlu_stem"]["subjects"].size(), 19u);
  EXPECT_EQ(whole["mmlu_virology"]["acc"], mmlu["subjects"]["virology"]["acc"]);
  EXPECT_EQ(mmlu["num_fewshot"], 2);
  const Json few = results({"--tasks", "mmlu", "--limit", "1"}, scratch.path("d"));
  EXPECT_EQ(few["mmlu"]["n"], 57);
  EXPECT_GT(listed["mmlu_anatomy"]["n"], listed["mmlu_world_religions"]["n"]);
}

TEST_F(EvalTasks, ChatTemplatesAreUsedOnRequestOnly) {
  refused(eval({"--tasks", "piqa", "--chat-template"}), 2, "has no chat template; leave it out");
  env->make_directories(scratch.path("m"));
  const std::string model = join_path(data_dir(), "models/stories260k");
  for (const std::string name : {"config.json", "model.safetensors", "tokenizer.json"})
    write("m/" + name, env->read_text(join_path(model, name), 1 << 26));
  write(
      "m/tokenizer_config.json",
      R"({"bos_token":"<s>","eos_token":"</s>","chat_template":"{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[answer]"})");
  const Outcome outcome =
      halftone({"eval", scratch.path("m"), "--data", kData, "--tasks", "arc_easy", "--num-fewshot",
                "1", "--chat-template", "--limit", "1", "--log-samples", scratch.path("log")},
               environment);
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  const Json line = parse_json(read("log"), "log");
  EXPECT_EQ(
      line["arguments"]["gen_args_1"]["arg_0"],
      "[user]Question: What is hot?\nAnswer:[assistant]fire[user]Question: Which animal can fly?\n"
      "Answer:[answer]");
  EXPECT_EQ(line["arguments"]["gen_args_1"]["arg_1"], "a bird");
}

TEST_F(EvalTasks, MistakesAreOneLine) {
  refused(eval({"--tasks", "piqaa"}), 2, "unknown task \"piqaa\"; did you mean piqa?");
  refused(eval({"--tasks", "mmlu_anatomie"}), 2, "did you mean mmlu_anatomy?");
  refused(
      eval({"--tasks", "wikitext2", "--num-fewshot", "2"}), 2,
      "--num-fewshot: wikitext2 is the perplexity of a running text; leave it out for this task");
  refused(eval({"--tasks", "wikitext", "--num-fewshot", "2"}), 2, "takes no examples");
  refused(eval({"--tasks", "lambada_openai", "--num-fewshot", "2"}), 2,
          "has no part to take examples from");
  refused(eval({"--tasks", "mmlu_anatomy", "--num-fewshot", "5"}), 2,
          "mmlu_anatomy has 3 examples to choose from; ask for fewer");
  refused(eval({"--tasks", "piqa", "--num-fewshot", "-1"}), 2, "--num-fewshot");
  write("d/piqa/valid.jsonl",
        "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":0}\n{\"goal\":\n");
  refused(eval({"--tasks", "piqa"}, scratch.path("d")), 3, "piqa/valid.jsonl:2: not valid JSON");
  write("d/piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":7}\n");
  refused(
      eval({"--tasks", "piqa"}, scratch.path("d")), 3,
      "piqa/valid.jsonl:1: the right answer is choice 7, and there are 2 (counted from 0); mend");
  refused(eval({"--tasks", "piqa", "--log-samples", join_path(kData, "piqa/valid.jsonl")}), 2,
          "is read by this command");
}

// What lm-eval begins an empty context with; a model without either answers all other items.
TEST_F(EvalTasks, ATokenizerWithoutBosAndEosIsNamedWithTheLineThatNeedsOne) {
  const std::string model = join_path(data_dir(), "models/stories260k");
  env->make_directories(scratch.path("m"));
  write("m/model.safetensors", env->read_text(join_path(model, "model.safetensors"), 1 << 26));
  const auto changed = [&](const std::string& name, const std::string& absent,
                           const std::map<std::string, std::string>& names) {
    std::string text = env->read_text(join_path(model, name), 1 << 26);
    for (const auto& [from, to] : names)
      for (size_t at; (at = text.find(from)) != text.npos;) text.replace(at, from.size(), to);
    Json json = parse_json(text, name);
    json[absent] = nullptr;
    write("m/" + name, json.dump());
  };
  changed("config.json", "eos_token_id", {});
  // By these names they would be known without a tokenizer_config.json.
  changed("tokenizer.json", "post_processor",
          {{"\"<s>\"", "\"<one>\""}, {"\"</s>\"", "\"<two>\""}});
  const auto of = [&](const std::string& task) {
    return halftone({"eval", scratch.path("m"), "--data", kData, "--tasks", task}, environment);
  };
  const std::string remedy = "; name bos_token or eos_token in tokenizer_config.json\n";
  refused(of("lambada_openai"), 3,
          "error[E_MISSING] " + scratch.path("m/tokenizer.json") + ": " + kData +
              "/lambada/lambada_openai_test.jsonl:3: there is neither a BOS nor an EOS token for "
              "an empty context to begin with" +
              remedy);
  refused(of("wikitext"), 3,
          scratch.path("m/tokenizer.json") +
              ": there is neither a BOS nor an EOS token for each page of " + kData +
              "/wikitext2/test.txt to begin with" + remedy);
  EXPECT_EQ(of("arc_easy").exit, 0);
}

// Items without a score and blank lines: counted, said, named.
TEST_F(EvalTasks, NothingIsLeftOutWithoutAWord) {
  std::string lines = "\n";
  for (int i = 0; i < 14; ++i)
    lines += Json({{"goal", "g" + std::to_string(i)},
                   {"sol1", "a"},
                   {"sol2", i % 6 == 5 ? "b" : std::string(1200, 'x')},
                   {"label", 0}})
                 .dump() +
             "\n \n";
  write("d/piqa/valid.jsonl", lines);
  const Json piqa = results({"--tasks", "piqa"}, scratch.path("d"))["piqa"];
  EXPECT_EQ(piqa["n"], 2);
  EXPECT_EQ(piqa["skipped"], 12);
  EXPECT_EQ(piqa["blank_lines"], 15);
  ASSERT_EQ(piqa["skipped_items"].size(), 12u);
  EXPECT_THAT(piqa["skipped_items"][11].get<std::string>(),
              StartsWith(scratch.path("d/piqa/valid.jsonl") +
                         ":28: not scored: choice 1: the continuation has "));
  const Outcome text = eval({"--tasks", "piqa"}, scratch.path("d"));
  EXPECT_THAT(text.out,
              HasSubstr(", 2 items of piqa validation, 12 items skipped, 15 blank lines, "));
  EXPECT_THAT(text.err, HasSubstr("valid.jsonl:2: not scored: choice 1: "));
  EXPECT_THAT(text.err, HasSubstr("valid.jsonl:22: not scored: choice 1: "));
  EXPECT_THAT(text.err,
              HasSubstr("2 more items are not scored: skipped_items of --json names all"));
  EXPECT_FALSE(results({"--tasks", "arc_easy"})["arc_easy"].contains("blank_lines"));
}

// A run of some seconds on one thread, killed at several moments; what it left behind is torn, too.
TEST_F(EvalTasks, AKilledRunGoesOnAndEndsTheSame) {
  write("d/piqa/valid.jsonl", piqa_lines(3000));
  env->make_directories(scratch.path("d/wikitext2"));
  write("d/wikitext2/test.txt",
        env->read_text(join_path(data_dir(), "wikitext2/test.txt"), 1 << 24).substr(0, 200000));
  const std::vector<std::string> words = {
      "--tasks", "wikitext2,piqa", "--window", "64", "--threads", "1", "--log-samples"};
  const auto with = [&](const std::string& log) {
    std::vector<std::string> all = words;
    all.push_back(scratch.path(log));
    return all;
  };
  auto undisturbed = with("log");
  undisturbed.emplace_back("--fresh");
  const Json whole = timeless(results(undisturbed, scratch.path("d")));
  ASSERT_THAT(journals(), testing::IsEmpty());
  std::vector<std::string> killed = {"eval", join_path(data_dir(), "models/stories260k"), "--data",
                                     scratch.path("d"), "--json"};
  for (const std::string& word : with("killed_log")) killed.push_back(word);
  const auto torn = [&] {  // a power cut in the middle of a line
    EXPECT_FALSE(env->stat(scratch.path("killed_log")));
    const std::string journal = "cache/eval/" + journals().at(0);
    const std::string text = read(journal);
    write(journal, text + text.substr(0, text.size() / 3));
  };
  const StoppedRun run = stopped_and_resumed(
      killed, {.folder = scratch.path("cache/eval"), .most = 3, .between = torn}, environment);
  ASSERT_GE(run.stopped.size(), 1u);
  ASSERT_EQ(run.last.exit, 0) << run.last.err;
  EXPECT_THAT(run.last.err, HasSubstr("going on with an earlier run: "));
  EXPECT_EQ(timeless(parse_json(run.last.out, "out")["results"]), whole);
  EXPECT_EQ(read("killed_log"), read("log"));
  EXPECT_THAT(journals(), testing::IsEmpty());
}

TEST_F(EvalTasks, BadDataOfAnyTaskIsFoundBeforeTheFirst) {
  write("d/piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":0}\n");
  write("d/winogrande/dev.jsonl", "{\"sentence\":\"no gap\"}\n");
  const Outcome outcome = halftone({"eval", scratch.path("no such model"), "--tasks",
                                    "piqa,winogrande", "--data", scratch.path("d")},
                                   environment);
  refused(outcome, 3, "winogrande/dev.jsonl:1: the sentence has no gap");
}

TEST_F(EvalTasks, ACacheThatCannotBeWrittenCostsOnlyTheResuming) {
  write("cache/eval", "a file where a folder should be");
  std::string items;
  for (int i = 0; i < 2500; ++i)
    items += Json({{"goal", "Lily has " + std::to_string(i) + " toys"},
                   {"sol1", "She plays with them in the park, all of them, and goes home."},
                   {"sol2", "She eats them."},
                   {"label", 0}})
                 .dump() +
             "\n";
  write("d/piqa/valid.jsonl", items);
  const Outcome outcome = eval({"--tasks", "piqa", "--threads", "1"}, scratch.path("d"));
  EXPECT_EQ(outcome.exit, 0);
  EXPECT_THAT(outcome.out, HasSubstr("2500 items"));
  EXPECT_THAT(outcome.err, HasSubstr("this run cannot be resumed: "));
}

}  // namespace
}  // namespace halftone::tests
