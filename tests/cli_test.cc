// The program as text: commands, what they print, and their exit codes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "tests/process.h"

namespace halftone::tests {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

std::string fixture(const std::string& name) {
  return std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/" + name;
}

// One line on stderr, the code, nothing on stdout.
void expect_refused(const Outcome& outcome, int exit, const std::string& part) {
  EXPECT_EQ(outcome.exit, exit) << outcome.err;
  EXPECT_THAT(outcome.err, StartsWith("halftone: error["));
  EXPECT_THAT(outcome.err, HasSubstr(part));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_EQ(outcome.out, "");
}

TEST(Cli, EveryCommandHasHelpWithExamples) {
  for (const char* command :
       {"quantize", "run", "generate", "chat", "eval", "compare", "bench", "inspect", "recipes",
        "doctor", "pull", "score", "check", "verify", "perturb"}) {
    const Outcome help = halftone({command, "--help"});
    EXPECT_EQ(help.exit, 0) << command;
    EXPECT_THAT(help.out, HasSubstr("Examples:\n  halftone " + std::string(command))) << command;
  }
  EXPECT_THAT(halftone({"--help"}).out, HasSubstr("Exit codes: 0 ok"));
}

TEST(Cli, MistakesOfUseAreOneLineAndExitTwo) {
  expect_refused(halftone({}), 2, "A subcommand is required");
  expect_refused(halftone({"train", "x"}), 2,
                 "there is no command \"train\"; commands: bench, chat");
  for (const char* seed : {"-1", "99999999999999999999999"})
    expect_refused(halftone({"run", "m", "-p", "x", "--seed", seed}), 2, "--seed");
  expect_refused(halftone({"eval", "m", "--tasks", "wikitext2", "--stride", "1"}), 2, "--stride");
  expect_refused(halftone({"quantise", "x"}), 2,
                 "there is no command \"quantise\"; did you mean quantize?");
  expect_refused(halftone({"run", "smollm2"}), 2, "--prompt is required");
  expect_refused(halftone({"quantize", "m", "--recipe", "gtpq_int4_g64", "-o", "o"}), 2,
                 "did you mean gptq");
  expect_refused(halftone({"quantize", "m", "--recipe", "rtn_int9_g64", "-o", "o"}), 2, "int9");
  expect_refused(halftone({"eval", fixture("models/llama_mha_tied"), "--tasks", "wikitxt2"}), 2,
                 "did you mean wikitext2?");
  expect_refused(halftone({"bench", fixture("models/llama_mha_tied")}, {{"HALFTONE_ISA", "sse9"}}),
                 2, "sse9");
}

TEST(Cli, BadFilesAreOneLineAndExitThree) {
  const Scratch scratch;
  expect_refused(halftone({"inspect", scratch.path("nothing")}), 3, "no such file or folder");
  const auto env = posix_env();
  write_atomically(*env, scratch.path("cut.gguf"), "GGUF\x03");
  expect_refused(halftone({"inspect", scratch.path("cut.gguf")}), 3, "cut.gguf");
  env->make_directories(scratch.path("model"));
  write_atomically(*env, scratch.path("model/config.json"),
                   "{\"architectures\":[\"XyzForCausalLM\"]}");
  expect_refused(halftone({"inspect", scratch.path("model")}), 3, "XyzForCausalLM");
  expect_refused(halftone({"inspect", "org/name"}, {{"HF_HUB_OFFLINE", "1"}}), 3,
                 "halftone pull org/name");
}

TEST(Cli, InspectAndRecipesPrintJson) {
  const Json model = parse_json(
      halftone({"inspect", fixture("models/gpt2_tiny"), "--json", "--tensors", "--ops"}).out,
      "out");
  EXPECT_EQ(model["family"], "gpt2");
  EXPECT_EQ(model["blocks"], 2);
  EXPECT_EQ(model["linears"].size(), 9u);
  const Json recipe = parse_json(halftone({"recipes", "gptq_int3_g64_asym", "--json"}).out, "out");
  EXPECT_EQ(recipe["format"]["bits"], 3);
  EXPECT_EQ(recipe["format"]["symmetric"], false);
  const Json list = parse_json(halftone({"recipes", "--json"}).out, "out");
  EXPECT_GE(list["recipes"].size(), 2u);
}

TEST(Cli, EveryLayoutOfARecipeCanBeAskedFor) {
  const Scratch scratch;
  for (const auto& [asked, planned] : {std::pair{"halftone", "compressed-tensors"},
                                       {"gptq", "gptq v1"},
                                       {"gptq_v1", "gptq v1"},
                                       {"gptq_v2", "gptq v2"}}) {
    const Outcome plan =
        halftone({"quantize", fixture("models/llama_gqa_untied"), "--recipe", "rtn_int4_g16",
                  "--layout", asked, "--plan", "--json", "-o", scratch.path("out")});
    ASSERT_EQ(plan.exit, 0) << plan.err;
    EXPECT_EQ(parse_json(plan.out, "out")["layout"], planned) << asked;
  }
}

TEST(Cli, BenchHasTheDocumentedShape) {
  const Json bench = parse_json(halftone({"bench", fixture("models/llama_gqa_untied"), "--prefill",
                                          "16", "--decode", "8", "--json", "--threads", "1"})
                                    .out,
                                "out");
  for (const char* part : {"prefill", "decode"}) {
    EXPECT_GT(bench[part]["tokens"].get<int64_t>(), 0);
    EXPECT_GT(bench[part]["tok_s"].get<double>(), 0);
  }
  for (const char* key : {"load_ms", "peak_rss_bytes", "threads", "isa", "cpu"})
    EXPECT_TRUE(bench.contains(key)) << key;
}

// A child is forked with all that its parent holds; what it measures is its own.
TEST(Cli, PeakMemoryIsThatOfTheModelAlone) {
  const std::vector<char> ballast(size_t{512} << 20, 1);
  ASSERT_EQ(ballast.back(), 1);
  const Json bench = parse_json(halftone({"bench", fixture("models/llama_gqa_untied"), "--prefill",
                                          "8", "--decode", "4", "--json", "--threads", "1"})
                                    .out,
                                "out");
  EXPECT_GT(bench["peak_rss_bytes"].get<uint64_t>(), uint64_t{1} << 20);
  EXPECT_LT(bench["peak_rss_bytes"].get<uint64_t>(), uint64_t{300} << 20);
}

TEST(Cli, ARunWithoutTemplateGoesOnWhereThePromptEnds) {
  if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
  const std::string model = join_path(data_dir(), "models/stories260k");
  const std::vector<std::string> words = {
      "run", model, "-p", "Once", "-n", "3", "--greedy", "--no-template", "--threads", "1"};
  auto with_json = words;
  with_json.emplace_back("--json");
  EXPECT_THAT(parse_json(halftone(with_json).out, "out")["text"].get<std::string>(),
              StartsWith(" upon a"));
  EXPECT_THAT(halftone(words).out, StartsWith(" upon a"));
  for (const char* flag : {"--temperature", "--top-p", "--min-p"})
    expect_refused(halftone({"run", model, "-p", "x", flag, "nan"}), 2, "is nan, wanted");
}

TEST(Cli, MeasurementsOfOneWindowAndWithoutSpeedSayWhatTheyLack) {
  if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
  const std::string model = join_path(data_dir(), "models/stories260k");
  const Scratch scratch;
  const auto env = posix_env();
  env->make_directories(scratch.path("wikitext2"));
  std::string text;
  for (int i = 0; i < 40; ++i) text += "Once upon a time there was a little girl named Lily. ";
  write_atomically(*env, scratch.path("wikitext2/test.txt"), text + "\n");
  const auto eval = [&](std::vector<std::string> more) {
    std::vector<std::string> words = {"eval",         model,       "--tasks", "wikitext2", "--data",
                                      scratch.path(), "--threads", "1",       "--window",  "64"};
    words.insert(words.end(), more.begin(), more.end());
    return halftone(words);
  };
  const auto interval = [&](const char* limit) {
    return parse_json(eval({"--limit", limit, "--json"}).out,
                      "out")["results"]["wikitext2"]["ci95"];
  };
  EXPECT_TRUE(interval("1").is_null());
  EXPECT_EQ(interval("3").size(), 2u);
  const Outcome one = eval({"--limit", "1"});
  EXPECT_THAT(one.out, AllOf(HasSubstr("wikitext2"), testing::Not(HasSubstr("["))));
  expect_refused(eval({"--stride", "65"}), 2, "65 is more than the window of 64 tokens");

  const Outcome compared =
      halftone({"compare", model, model, "--text", scratch.path("wikitext2/test.txt"), "--windows",
                "1", "--window", "64", "--no-speed", "--threads", "1", "--json", "--report",
                scratch.path("page.html")});
  EXPECT_EQ(compared.exit, 0) << compared.err;
  const Json result = parse_json(compared.out, "out");
  for (const Json& row : result["models"])
    for (const char* key : {"prefill_tok_s", "decode_tok_s", "peak_rss_bytes"}) {
      ASSERT_TRUE(row.contains(key)) << key;
      EXPECT_TRUE(row[key].is_null()) << key;
    }
  EXPECT_EQ(result["models"][1]["kl_ci95"], Json::array({0, 0}));

  // What is read is never written over.
  const std::string read = scratch.path("wikitext2/test.txt"),
                    before = env->read_text(read, 1 << 20);
  expect_refused(eval({"--log-samples", read}), 2, "is read by this command");
  expect_refused(halftone({"compare", model, model, "--text", read, "--report", read}), 2,
                 "is read by this command");
  EXPECT_EQ(env->read_text(read, 1 << 20), before);
  EXPECT_THAT(env->read_text(scratch.path("page.html"), 1 << 20),
              AllOf(HasSubstr("one window: no interval"), testing::Not(HasSubstr("95 % ["))));
}

// Two vocabularies of one size are not one vocabulary: LLaMA 2 and Mistral both have 32,000 tokens.
TEST(Cli, CompareRefusesModelsThatReadOtherTokens) {
  if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
  const std::string model = join_path(data_dir(), "models/stories260k");
  const Scratch scratch;
  const auto env = posix_env();
  const std::string other = scratch.path("other");
  env->make_directories(other);
  for (const std::string& name : env->list(model))
    if (name != "tokenizer.model")
      write_atomically(*env, join_path(other, name),
                       env->read_text(join_path(model, name), uint64_t{1} << 30));
  const std::string path = join_path(other, "tokenizer.json");
  Json tokenizer = parse_json(env->read_text(path, 1 << 24), path);
  Json& vocabulary = tokenizer["model"]["vocab"];
  std::swap(vocabulary["e"], vocabulary["t"]);
  write_atomically(*env, path, tokenizer.dump());
  write_atomically(*env, scratch.path("text.txt"), "the tree and the bee\n");
  const std::vector<std::string> words = {
      "compare",  model, other,       "--text", scratch.path("text.txt"),
      "--window", "4",   "--windows", "1",      "--no-speed"};
  expect_refused(halftone(words), 2, "cuts the text into other tokens than");
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"})
    env->remove(join_path(other, name));
  const Outcome without = halftone(words);
  EXPECT_EQ(without.exit, 0) << without.err;
  EXPECT_THAT(without.err, HasSubstr("has no tokenizer: it is given the tokens of"));
}

// Causal masks and a tied head's copy lie in the file and are not read.
TEST(Cli, BitsPerWeightCountWhatIsRead) {
  for (const char* name : {"models/gpt2_tiny", "models/gpt2_tiny_bare", "models/gpt2_tiny_bin"})
    EXPECT_EQ(
        parse_json(halftone({"inspect", fixture(name), "--json"}).out, "out")["bits_per_weight"],
        32.0)
        << name;
}

TEST(Cli, MoreThreadsThanCoresRunAsAskedWithOneWarning) {
  const Outcome outcome = halftone({"bench", fixture("models/llama_gqa_untied"), "--prefill", "8",
                                    "--decode", "4", "--json", "--threads", "99"});
  EXPECT_EQ(outcome.exit, 0) << outcome.err;
  EXPECT_THAT(outcome.err, StartsWith("warning: 99 threads on "));
  EXPECT_EQ(parse_json(outcome.out, "out")["threads"], 99);
}

}  // namespace
}  // namespace halftone::tests
