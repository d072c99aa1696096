// Commands run to success on a tiny model, and the shapes of JSON that are promised for ever.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <sstream>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "halftone/files/test_server.h"
#include "tests/tiny_model.h"

namespace halftone::tests {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class Commands : public TinyModel {};

// 160 characters of text are 5 windows of 32, each scored but for its first token.
TEST_F(Commands, EvalHasThePromisedShape) {
  const Json results = eval({"--tasks", "wikitext2", "--log-samples", scratch.path("log")});
  ASSERT_EQ(keys_of(results), std::set<std::string>{"wikitext2"});
  const Json& result = results["wikitext2"];
  EXPECT_EQ(result["tokens"], 5 * 31);
  EXPECT_EQ(result["protocol"], "gptq-32");
  EXPECT_GE(result["seconds"].get<double>(), 0);
  EXPECT_EQ(keys_of(result),
            (std::set<std::string>{"perplexity", "tokens", "tokens_dropped", "seconds", "protocol",
                                   "ci95", "mean_nll", "windows", "data"}));
  EXPECT_EQ(result["tokens_dropped"], 0);
  double sum = 0;
  std::istringstream log(env->read_text(scratch.path("log"), 1 << 20));
  int64_t lines = 0;
  for (std::string line; std::getline(log, line); ++lines)
    sum += parse_json(line, "log")["mean_nll"].get<double>();
  EXPECT_EQ(lines, 5);
  EXPECT_NEAR(result["perplexity"].get<double>(), std::exp(sum / 5), 1e-9 * std::exp(sum / 5));
}

// 160 characters are two windows of 64 and half of one, unless a limit asks for less.
TEST_F(Commands, EvalSaysWhatItLeavesOut) {
  write("data/c4/c4_fragments.jsonl", "\n" + Json({{"text", std::string(70, 'a')}}).dump() +
                                          "\n \n" + Json({{"text", std::string(89, 'b')}}).dump() +
                                          "\n");
  const auto with = [&](const std::string& limit) {
    return halftone({"eval", model, "--tasks", "c4", "--data", scratch.path("data"), "--window",
                     "64", "--limit", limit, "--json"});
  };
  const Json all = parse_json(with("9").out, "all")["results"]["c4"],
             one = parse_json(with("1").out, "one")["results"]["c4"];
  EXPECT_EQ(all["windows"], 2);
  EXPECT_EQ(all["tokens_dropped"], 32);
  EXPECT_EQ(all["blank_lines"], 2);
  EXPECT_EQ(one["tokens_dropped"], 0);
  const Outcome text =
      halftone({"eval", model, "--tasks", "c4", "--data", scratch.path("data"), "--window", "64"});
  EXPECT_THAT(text.out, HasSubstr(" windows of c4-partial validation, the last 32 tokens dropped, "
                                  "2 blank lines passed over, "));
  write("data/c4/c4_fragments.jsonl", "{\"text\":\"a\"}\n{\"text\":\n");
  EXPECT_THAT(with("1").err, HasSubstr("c4_fragments.jsonl:2: not valid JSON"));
  EXPECT_THAT(with("1").err, HasSubstr("; mend or remove the line\n"));
}

TEST_F(Commands, EvalTakesSeveralTasksAndAStride) {
  const Json results = eval({"--tasks", "c4,ptb", "--stride", "16"});
  ASSERT_EQ(keys_of(results), (std::set<std::string>{"c4", "ptb"}));
  for (const auto& [task, result] : results.items()) {
    EXPECT_EQ(result["protocol"], "strided-32-16") << task;
    EXPECT_GT(result["perplexity"].get<double>(), 1) << task;
  }
  EXPECT_EQ(results["c4"]["tokens"], 158);   // every token but the first, once
  EXPECT_EQ(results["ptb"]["tokens"], 157);  // the space at the end of its line is no text
  EXPECT_EQ(results["c4"]["data"], "c4-partial validation");
  const Outcome text = halftone({"eval", model, "--tasks", "c4,ptb", "--data", scratch.path("data"),
                                 "--window", "32", "--stride", "16", "--threads", "1"});
  EXPECT_THAT(text.out, HasSubstr("\n  c4  perplexity "));
  EXPECT_THAT(text.out, HasSubstr("strided-32-16, 9 windows of ptb validation, "));
}

TEST_F(Commands, BenchHasThePromisedShape) {
  const Json bench =
      json_of({"bench", model, "--prefill", "16", "--decode", "8", "--threads", "1"});
  EXPECT_EQ(keys_of(bench),
            (std::set<std::string>{"model", "mode", "activation_block", "kv", "head_bits",
                                   "prefill", "decode", "load_ms", "peak_rss_bytes", "weight_bytes",
                                   "bits_per_weight", "nominal_bits", "layer_mean_bits",
                                   "ratio_to_f32", "energy", "threads", "isa", "cpu"}));
  EXPECT_EQ(bench["kv"], "f16");
  EXPECT_TRUE(bench["head_bits"].is_null());
  EXPECT_TRUE(bench["activation_block"].is_null());
  EXPECT_EQ(bench["prefill"]["tokens"], 16);
  EXPECT_EQ(bench["decode"]["tokens"], 8);
  EXPECT_GT(bench["prefill"]["tok_s"].get<double>(), 0);
  EXPECT_GT(bench["decode"]["tok_s"].get<double>(), 0);
  EXPECT_GT(bench["load_ms"].get<double>(), 0);
  EXPECT_EQ(bench["threads"], 1);
  EXPECT_TRUE(bench["isa"].is_string() && bench["cpu"].is_string());
  const Json other = json_of({"bench", model, "--prefill", "16", "--decode", "8", "--threads", "1",
                              "--kv", "int8", "--head-bits", "8", "--activation-block", "row"});
  EXPECT_EQ(other["activation_block"], "row");
  EXPECT_EQ(other["kv"], "int8");
  EXPECT_EQ(json_of({"bench", model, "--prefill", "16", "--decode", "8", "--threads", "1", "--kv",
                     "bf16"})["kv"],
            "bf16");
  EXPECT_EQ(other["head_bits"], 8);
}

// The mode is named wherever figures of it are: its numbers are not those of mode int8.
TEST_F(Commands, ModeTablesIsNamedInWhatItSays) {
  const std::string two = scratch.path("int2");
  ASSERT_EQ(halftone({"quantize", model, "--recipe", "rtn_int2_g64", "-o", two, "--quiet",
                      "--no-measure"})
                .exit,
            0);
  EXPECT_EQ(json_of({"bench", two, "--prefill", "16", "--decode", "8", "--threads", "1", "--mode",
                     "tables"})["mode"],
            "tables");
  const auto perplexity = [&](const std::string& mode) {
    const Json all = json_of({"eval", two, "--data", scratch.path("data"), "--window", "32",
                              "--tasks", "wikitext2", "--mode", mode});
    EXPECT_THAT(all["engine"].get<std::string>(), HasSubstr("(runtime, " + mode + ")"));
    return all["results"]["wikitext2"]["perplexity"].get<double>();
  };
  const double int8 = perplexity("int8"), tables = perplexity("tables");
  EXPECT_NE(int8, tables);
  EXPECT_NEAR(std::log(tables / int8), 0, 0.05);
  write("text.txt", env->read_text(scratch.path("data/wikitext2/test.txt"), 1 << 20));
  EXPECT_EQ(json_of({"compare", model, two, "--text", scratch.path("text.txt"), "--window", "32",
                     "--windows", "4", "--no-speed", "--mode", "tables"})["mode"],
            "tables");
  const Outcome note = halftone({"run", model, "-p", "x", "-n", "1", "--mode", "tables"});
  EXPECT_THAT(note.err, HasSubstr("the model has no weights of 2 bits"));
}

// Two turns: the cache goes on where the first answer ended, and the second answer is the one that
// the whole conversation gives in one go.
TEST_F(Commands, ChatAnswersTwiceInOneConversation) {
  const std::vector<std::string> same = {"-n",    "6",         "--greedy", "--mode",
                                         "exact", "--threads", "1"};
  const auto answer = [&](const std::string& prompt) {
    std::vector<std::string> words = {"run", model, "--no-template", "-p", prompt};
    words.insert(words.end(), same.begin(), same.end());
    return json_of(words)["text"].get<std::string>();
  };
  const std::string first = answer("Hello"), second = answer("Hello" + first + "and-then");
  EXPECT_FALSE(first.empty());
  EXPECT_FALSE(second.empty());
  std::vector<std::string> words = {"bash",
                                    "-c",
                                    "printf 'Hello\\nand-then\\n/quit\\nnot read\\n' | \"$@\"",
                                    "bash",
                                    halftone_path(),
                                    "chat",
                                    model,
                                    "--quiet"};
  words.insert(words.end(), same.begin(), same.end());
  const Outcome chat = run(words);
  EXPECT_EQ(chat.exit, 0) << chat.err;
  EXPECT_EQ(chat.out, first + "\n" + second + "\n");
  words.insert(words.end(), {"--lookup", "--draft-tokens", "3"});
  EXPECT_EQ(run(words).out, chat.out);
}

// One line an answer, in the order of the prompts, the same bytes however many go together; the
// first is what `run` gives with that seed.
TEST_F(Commands, GenerateAnswersAFileOfPrompts) {
  write("prompts.txt", "Once\n\nupon a time\r\nthere was a girl named Lily and so on\nLily\n");
  const auto generate = [&](const std::string& file, std::vector<std::string> more) {
    std::vector<std::string> words = {"generate", model, "--prompts",     scratch.path(file),
                                      "-n",       "9",   "--temperature", "0.9",
                                      "--seed",   "3",   "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = halftone(words);
    EXPECT_EQ(outcome.exit, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    return outcome.out;
  };
  const std::string together = generate("prompts.txt", {});
  EXPECT_EQ(generate("prompts.txt", {"--batch", "1", "--threads", "1"}), together);
  EXPECT_EQ(generate("prompts.txt", {"--batch", "3"}), together);
  EXPECT_EQ(generate("prompts.txt", {"-o", scratch.path("answers.jsonl")}), "");
  EXPECT_EQ(env->read_text(scratch.path("answers.jsonl"), 1 << 20), together);
  std::istringstream lines(together);
  std::vector<Json> answers;
  for (std::string line; std::getline(lines, line);) answers.push_back(parse_json(line, "line"));
  ASSERT_EQ(answers.size(), 4u);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(answers[i]["index"], i);
    EXPECT_EQ(keys_of(answers[i]),
              (std::set<std::string>{"index", "prompt", "text", "prompt_tokens", "tokens", "ids",
                                     "stop", "seed"}));
  }
  EXPECT_EQ(answers[1]["prompt"], "upon a time");
  const Json alone =
      json_of({"run", model, "-p", "Once", "-n", "9", "--temperature", "0.9", "--seed", "3"});
  EXPECT_EQ(answers[0]["ids"], alone["ids"]);
  EXPECT_EQ(answers[0]["text"], alone["text"]);

  write("prompts.jsonl", "{\"id\": \"a\", \"prompt\": \"Once\"}\n{\"prompt\": \"upon a time\"}\n");
  std::istringstream json_lines(generate("prompts.jsonl", {}));
  std::string line;
  std::getline(json_lines, line);
  const Json first = parse_json(line, "line");
  EXPECT_EQ(first["id"], "a");
  EXPECT_EQ(first["ids"], alone["ids"]);

  // Drafts change no text that look-ups propose.
  std::istringstream drafted(generate("prompts.txt", {"--lookup"}));
  for (size_t i = 0; i < 4; ++i) {
    std::getline(drafted, line);
    Json answer = parse_json(line, "line");
    EXPECT_EQ(keys_of(answer["draft"]), (std::set<std::string>{"by", "drafted", "accepted",
                                                               "accepted_share", "tokens_a_step"}));
    answer.erase("draft");
    EXPECT_EQ(answer, answers[i]);
  }
}

TEST_F(Commands, GenerateRefusesBeforeItStartsAndNamesTheLine) {
  const auto refused = [&](const std::string& text, int exit, const std::string& part,
                           std::vector<std::string> more = {}) {
    write("p", text);
    std::vector<std::string> words = {"generate", model, "--prompts", scratch.path("p")};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome outcome = halftone(words);
    EXPECT_EQ(outcome.exit, exit) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  };
  refused("", 3, "has no prompts");
  refused("{\"prompt\": \"a\"}\n{\"text\": \"b\"}\n", 3, "line 2: has no \"prompt\"");
  refused("{\"prompt\": \"a\"}\nplain\n", 3, "line 2");
  refused("ab\n\xff\n", 3, "line 2: is not UTF-8");
  refused("ab\n" + std::string(200, 'a') + "\n", 2, "p line 2: a sequence of 200 tokens");
  refused("ab\n", 5, "the limit for all texts together is 0 MB", {"--cache-gb", "0.000001"});
  refused("ab\n", 2, "with drafts, prompts go one by one", {"--batch", "4", "--lookup"});
  refused("ab\n", 2, "nothing proposes tokens", {"--draft-tokens", "4"});
}

TEST_F(Commands, DraftsLeaveTheTextOrRefuse) {
  const std::vector<std::string> words = {
      "run", model,    "-p", "Once upon Once upon", "-n", "40", "--temperature",
      "0.5", "--seed", "3",  "--threads",           "1"};
  const auto with = [&](std::vector<std::string> more) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more.begin(), more.end());
    return json_of(all);
  };
  const Json plain = with({}), lookup = with({"--lookup"});
  EXPECT_FALSE(plain.contains("draft"));
  EXPECT_EQ(lookup["ids"], plain["ids"]);
  EXPECT_EQ(lookup["draft"]["by"], "look-up");
  const Json greedy = with({"--greedy"}), itself = with({"--greedy", "--draft", model});
  EXPECT_EQ(itself["ids"], greedy["ids"]);
  EXPECT_EQ(itself["draft"]["accepted"], itself["draft"]["drafted"]);
  // The same model with two tokens exchanged.
  env->make_directories(scratch.path("other"));
  for (const char* name : {"config.json", "model.safetensors", "tokenizer_config.json"})
    write("other/" + std::string(name), env->read_text(join_path(model, name), 1 << 24));
  Json tokenizer = parse_json(env->read_text(join_path(model, "tokenizer.json"), 1 << 20), "t");
  std::swap(tokenizer["model"]["vocab"]["!"], tokenizer["model"]["vocab"]["a"]);
  write("other/tokenizer.json", tokenizer.dump());
  std::vector<std::string> all = words;
  all.insert(all.end(), {"--draft", scratch.path("other")});
  const Outcome outcome = halftone(all);
  EXPECT_EQ(outcome.exit, 3);
  EXPECT_THAT(outcome.err,
              HasSubstr("--draft " + scratch.path("other") + ": its tokenizer is not that of " +
                        model + ": token 0 is \"a\" against \"!\""));
}

TEST_F(Commands, ChatWithoutATemplateSaysWhatToDo) {
  env->remove(scratch.path("m/tokenizer_config.json"));
  const Outcome chat = halftone({"chat", model});
  EXPECT_EQ(chat.exit, 3);
  EXPECT_THAT(chat.err, HasSubstr("has no chat template; use halftone run MODEL -p TEXT"));
}

TEST_F(Commands, DoctorFindsTheMachine) {
  const Json doctor = json_of({"doctor"}, {{"HF_HUB_CACHE", scratch.path()}});
  EXPECT_EQ(keys_of(doctor), (std::set<std::string>{"version", "commit", "checks"}));
  std::map<std::string, Json> checks;
  for (const Json& check : doctor["checks"]) {
    EXPECT_EQ(keys_of(check), (std::set<std::string>{"name", "finding", "good", "remedy"}));
    EXPECT_TRUE(check["good"].get<bool>() || check["remedy"] != "") << check;
    checks[check["name"].get<std::string>()] = check;
  }
  for (const char* name : {"cpu", "kernels", "memory", "model smollm2", "data", "hub cache"})
    EXPECT_TRUE(checks.contains(name)) << name;
  EXPECT_EQ(checks["hub cache"]["finding"], scratch.path());
  EXPECT_TRUE(checks["hub cache"]["good"].get<bool>());
  const Outcome text = halftone({"doctor"}, {{"HF_HUB_CACHE", scratch.path("absent")}});
  EXPECT_EQ(text.exit, 0);
  EXPECT_THAT(text.out, StartsWith("halftone "));
  EXPECT_THAT(text.out, HasSubstr("  note  hub cache: " + scratch.path("absent") + "; "));
}

TEST_F(Commands, PullFetchesAModelThatOtherCommandsThenFind) {
  const std::string commit(40, 'c');
  files::testing_files::LoopbackServer hub(
      [&](const files::testing_files::TestRequest& r) -> files::testing_files::TestResponse {
        const std::string file = file_name(r.path);
        if (!r.path.starts_with("/org/name/resolve/") || !env->stat(join_path(model, file)))
          return {404, {{"X-Repo-Commit", commit}, {"X-Error-Code", "EntryNotFound"}}, "", {}, {}};
        const std::string body = env->read_text(join_path(model, file), 1 << 24);
        return {200,
                {{"X-Repo-Commit", commit},
                 {"ETag",
                  "\"" + std::string(36, 'e') + std::to_string(1000 + body.size() % 9000) + "\""}},
                body,
                {},
                {}};
      });
  const std::map<std::string, std::string> settings = {{"HF_ENDPOINT", hub.url()},
                                                       {"HF_HUB_CACHE", scratch.path("hub")},
                                                       {"HF_HUB_OFFLINE", "0"},
                                                       {"TRANSFORMERS_OFFLINE", "0"},
                                                       {"no_proxy", "127.0.0.1"}};
  const Json pulled = json_of({"pull", "org/name"}, settings);
  EXPECT_EQ(pulled["model"], "org/name");
  EXPECT_EQ(pulled["path"], scratch.path("hub/models--org--name/snapshots/" + commit));
  const size_t asked = hub.requests().size();
  EXPECT_GT(asked, 3u);
  auto offline = settings;
  offline["HF_HUB_OFFLINE"] = "1";
  EXPECT_EQ(json_of({"inspect", "org/name"}, offline)["family"], "llama");
  EXPECT_EQ(json_of({"run", "org/name", "-p", "Hello", "-n", "2", "--greedy"}, offline)["tokens"],
            2);
  EXPECT_EQ(hub.requests().size(), asked);
}

// Ctrl-C at every rename of a run: what was finished is kept, the command that goes on is said, and
// its result is that of a run in peace.
TEST_F(Commands, QuantizeStoppedByCtrlCIsResumable) {
  if (run({"strace", "-o", "/dev/null", "true"}).exit != 0)
    GTEST_SKIP() << "strace cannot trace here";
  const std::vector<std::string> words = {
      halftone_path(),     "quantize", model,       "--recipe", "rtn_int4_g16", "-o",
      scratch.path("out"), "--quiet",  "--threads", "1",        "--no-measure"};
  ASSERT_EQ(run(words).exit, 0);
  const std::string whole = folder_hash(scratch.path("out"));
  const char* options = std::getenv("ASAN_OPTIONS");  // a traced process cannot look for leaks
  const std::map<std::string, std::string> traceable = {
      {"ASAN_OPTIONS", std::string(options != nullptr ? options : "") + ":detect_leaks=0"}};
  int64_t stopped = 0;
  for (int n = 1; n < 50; ++n) {
    env->remove_tree(scratch.path("out"));
    std::vector<std::string> traced = {
        "strace",       "-f",        "-qq",
        "-o",           "/dev/null", "-e",
        "trace=rename", "-e",        "inject=rename:signal=SIGINT:when=" + std::to_string(n)};
    traced.insert(traced.end(), words.begin(), words.end());
    const Outcome outcome = run(traced, traceable);
    if (outcome.exit == 0) {  // fewer renames, or nothing was left to stop
      EXPECT_EQ(folder_hash(scratch.path("out")), whole) << n;
      if (stopped > 0) break;
      continue;
    }
    ++stopped;
    EXPECT_EQ(outcome.exit, 7) << n << ": " << outcome.err;
    EXPECT_THAT(outcome.err, StartsWith("halftone: error[E_INTERRUPTED]"));
    EXPECT_THAT(outcome.err, HasSubstr("--resume"));
    EXPECT_FALSE(env->stat(scratch.path("out"))) << n;
    auto resume = words;
    resume.emplace_back("--resume");
    const Outcome resumed = run(resume);
    EXPECT_EQ(resumed.exit, 0) << n << ": " << resumed.err;
    EXPECT_EQ(folder_hash(scratch.path("out")), whole) << n;
  }
  EXPECT_GE(stopped, 1);
  RecordProperty("stops", static_cast<int>(stopped));
}

}  // namespace
}  // namespace halftone::tests
