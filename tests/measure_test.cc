// What was lost, as users meet it: compare, the loss card and who measures it again, perturb.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "halftone/base/env.h"
#include "halftone/base/hash.h"
#include "halftone/base/json.h"
#include "tests/support/piqa_lines.h"
#include "tests/tiny_model.h"

namespace halftone::tests {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class Measure : public TinyModel {};

TEST_F(Measure, CompareHasThePromisedShape) {
  const std::string small = scratch.path("int4");
  ASSERT_EQ(halftone({"quantize", model, "--recipe", "rtn_int4_g16", "-o", small, "--quiet",
                      "--no-measure"})
                .exit,
            0);
  write("text.txt", env->read_text(scratch.path("data/wikitext2/test.txt"), 1 << 20));
  const Json result = json_of({"compare", model, small, "--text", scratch.path("text.txt"),
                               "--window", "32", "--windows", "4", "--threads", "1"});
  ASSERT_EQ(result["models"].size(), 2u);
  EXPECT_EQ(result["models"][0]["name"], model);
  EXPECT_EQ(result["models"][1]["name"], small);
  for (const Json& row : result["models"]) {
    EXPECT_GT(row["bytes"].get<int64_t>(), 1000);
    EXPECT_THAT(row["kl_ci95"].get<std::vector<double>>(), testing::SizeIs(2));
    EXPECT_GE(row["top1_agreement"].get<double>(), 0);
    EXPECT_LE(row["top1_agreement"].get<double>(), 1);
    EXPECT_GT(row["perplexity"].get<double>(), 1);
    EXPECT_GT(row["prefill_tok_s"].get<double>(), 0);
    EXPECT_GT(row["decode_tok_s"].get<double>(), 0);
    EXPECT_GT(row["peak_rss_bytes"].get<int64_t>(), 1 << 20);
    EXPECT_GT(row["load_ms"].get<double>(), 0);
    EXPECT_THAT(row["energy"]["source"].get<std::string>(),
                testing::AnyOf(StartsWith("RAPL"), StartsWith("model")));
    EXPECT_GE(row["energy"]["decode_j_per_token"].get<double>(), 0);
  }
  EXPECT_EQ(result["models"][0]["bits_per_weight"], 32);
  EXPECT_LT(result["models"][1]["bits_per_weight"].get<double>(), 32);
  EXPECT_EQ(result["models"][0]["kl_mean"], 0);
  EXPECT_GT(result["models"][1]["kl_mean"].get<double>(), 0);
  EXPECT_LT(result["models"][1]["bytes"], result["models"][0]["bytes"]);
  // A row a linear, and how far its channels reach.
  EXPECT_FALSE(result["models"][0].contains("weights"));
  const Json& weights = result["models"][1]["weights"];
  ASSERT_FALSE(weights.empty());
  for (const Json& row : weights) {
    if (row["role"] == "head") continue;  // f16 here, not rounded to 4 bits
    EXPECT_GT(row["relative_error"].get<double>(), 0.01) << row;
    EXPECT_LT(row["relative_error"].get<double>(), 0.2) << row;
    EXPECT_GT(row["bits"].get<double>(), 4) << row;
  }
  for (const Json& row : result["models"])
    EXPECT_THAT(row["channel_ranges"], testing::SizeIs(weights.size()));
  // As a person reads it: all that the JSON has of each model's cost.
  const Outcome text = halftone({"compare", model, small, "--text", scratch.path("text.txt"),
                                 "--window", "32", "--windows", "1", "--threads", "1"});
  for (const char* column : {"prefill tok/s", "peak MB", "load ms", "mJ a decoded token", "energy"})
    EXPECT_THAT(text.out, HasSubstr(column));
}

TEST_F(Measure, CompareShowsAStudyOnlyIfItIsOne) {
  write("text.txt", "Once upon a time");
  write("summary.json", "{\"grid\": {\"temperatures\": [1]}}");
  const Outcome refused = halftone(
      {"compare", model, model, "--text", scratch.path("text.txt"), "--sweep", scratch.path("")});
  EXPECT_EQ(refused.exit, 3);
  EXPECT_THAT(refused.err, HasSubstr("summary.json: is no summary of halftone sweep"));
}

// A model answers as it does itself; a broken one parts from it, and where is said.
TEST_F(Measure, CompareLetsTheModelsAnswerPrompts) {
  const std::string small = scratch.path("int1");
  ASSERT_EQ(halftone({"quantize", model, "--recipe", "rtn_int2_g16", "-o", small, "--quiet",
                      "--no-measure"})
                .exit,
            0);
  write("text.txt", env->read_text(scratch.path("data/wikitext2/test.txt"), 1 << 20));
  write("p", "Once\n\nupon a time\nLily\n");
  const std::vector<std::string> words = {
      "compare",         model,      model,       small,    "--prompts",
      scratch.path("p"), "--tokens", "12",        "--text", scratch.path("text.txt"),
      "--window",        "32",       "--windows", "2",      "--no-speed",
      "--threads",       "1"};
  const Json result = json_of(words);
  EXPECT_EQ(result["prompts"], (Json{{"file", scratch.path("p")},
                                     {"count", 3},
                                     {"skipped", 1},
                                     {"tokens", 12},
                                     {"template", true}}));
  EXPECT_FALSE(result["models"][0].contains("fidelity"));
  const Json &same = result["models"][1]["fidelity"], &other = result["models"][2]["fidelity"];
  for (const Json* f : {&same, &other})
    EXPECT_EQ(keys_of(*f),
              (std::set<std::string>{"exact", "common_prefix", "tokens", "reference_tokens",
                                     "median_parting", "first_parting", "scores", "partings"}));
  EXPECT_EQ(same["exact"]["value"], 1);
  EXPECT_EQ(same["exact"]["ci95"], (Json{1.0, 1.0}));
  EXPECT_EQ(same["common_prefix"]["value"], 12);
  EXPECT_EQ(same["scores"]["chrf"]["value"], 100);
  EXPECT_TRUE(same["first_parting"].is_null());
  const Json &own = result["models"][1]["answers"], &theirs = result["models"][2]["answers"];
  ASSERT_THAT(own, testing::SizeIs(3));
  EXPECT_EQ(own[1]["prompt"], "upon a time");
  EXPECT_TRUE(own[1]["parts_at"].is_null());
  EXPECT_THAT(own[1]["tokens"], testing::SizeIs(12));
  EXPECT_EQ(own[1]["tokens"][3]["kl"], 0);
  EXPECT_GT(theirs[1]["tokens"][3]["kl"], 0);
  EXPECT_EQ(theirs[1]["parts_at"], other["partings"][1]["common_prefix"]);
  EXPECT_EQ(theirs[1]["tokens"][3]["text"], own[1]["candidate_tokens"][3]["text"]);
  EXPECT_EQ(other["exact"]["value"], 0);
  EXPECT_LT(other["scores"]["chrf"]["value"].get<double>(), 90);
  EXPECT_EQ(other["scores"]["bleu"]["signature"], "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp");
  EXPECT_THAT(other["partings"], testing::SizeIs(3));
  EXPECT_EQ(other["partings"][1]["line"], 3);
  EXPECT_NE(other["first_parting"]["reference"], other["first_parting"]["model"]);
  const Outcome text = halftone(words);
  EXPECT_THAT(text.out, HasSubstr("to 3 prompts of " + scratch.path("p") +
                                  ", empty lines skipped: 1, in the chat template"));
  EXPECT_THAT(text.out, HasSubstr(small + " parts first at token "));
  EXPECT_THAT(text.err, HasSubstr("1 of 4 lines are empty and skipped"));
}

// The loss card after a quantization, the file that keeps it, and who measures again: the same
// figures at another thread count, a changed byte of either is found, and what was stopped between
// the model and its card goes on.
TEST_F(Measure, QuantizeMeasuresAndVerifyMeasuresTheSame) {
  const std::string out = scratch.path("int4"), file = join_path(out, "measured.json"),
                    weights = join_path(out, "model.safetensors");
  const std::vector<std::string> words = {
      "quantize", model,      "--recipe",           "rtn_int4_g16", "-o",
      out,        "--data",   scratch.path("data"), "--quiet",      "--measure-windows",
      "2",        "--explain"};
  const auto made = halftone(words);
  ASSERT_EQ(made.exit, 0) << made.err;
  EXPECT_THAT(made.out, HasSubstr("\n" + model + " -> " + out));
  EXPECT_THAT(made.out, HasSubstr(" another first choice\n"));
  EXPECT_THAT(made.out, HasSubstr("\n  saved    measured.json"));
  EXPECT_THAT(made.out, HasSubstr("\nNo text was read: the recipe needs no calibration.\n"));
  const std::string kept = env->read_text(file, 1 << 20);
  const Json measured = parse_json(kept, file);
  EXPECT_GT(measured["divergence"]["kl_mean"].get<double>(), 0);
  EXPECT_GT(measured["speed"]["model"]["decode_tok_s"].get<double>(), 0);
  EXPECT_GT(measured["memory"]["peak_rss_bytes"].get<int64_t>(), 1 << 20);
  EXPECT_EQ(measured["protocol"]["data"], "wikitext2 test");
  EXPECT_EQ(measured["overlap"], Json());
  EXPECT_GT(measured["noise_floor"]["kl_mean"].get<double>(), 0);
  EXPECT_LT(measured["noise_floor"]["kl_mean"], measured["divergence"]["kl_mean"]);

  const std::vector<std::string> verify = {
      "verify", out, "--data", scratch.path("data"), "--no-speed", "--quiet", "--threads", "1"};
  const Outcome same = halftone(verify);
  EXPECT_EQ(same.exit, 0) << same.err << same.out;
  EXPECT_THAT(same.out, HasSubstr("tensors are what halftone.json says was written"));
  const auto refuses = [&](const std::string& part) {
    const Outcome outcome = halftone(verify);
    EXPECT_EQ(outcome.exit, 3) << outcome.out;
    EXPECT_THAT(outcome.err, HasSubstr(part));
  };
  // A figure that was not measured, in a file that is whole.
  std::string changed = kept;
  const size_t digit = changed.find_first_of("123456789", changed.find("\"kl_mean\""));
  changed[digit] = changed[digit] == '9' ? '8' : static_cast<char>(changed[digit] + 1);
  write("int4/measured.json", changed);
  refuses("measured.json: is not as it was written: its own hash differs");
  // The same by someone who knows how to hash; and one who cut the file.
  const auto rewrite = [&](const std::function<void(Json&)>& change) {
    Json json = measured;
    json.erase("hash");
    change(json);
    json["hash"] = Hasher().add(json.dump()).hex();
    write("int4/measured.json", json.dump());
  };
  for (const char* figure : {"/divergence/top5_agreement", "/damage/1/hidden_error",
                             "/size/ratio_to_f32/effective", "/noise_floor/js_mean"}) {
    rewrite([&](Json& json) { json[Json::json_pointer(figure)] = 0.5; });
    refuses(" was 0.500000, measured again ");
  }
  rewrite([](Json& json) { json["divergence"].erase("kl_p90"); });
  refuses("measured.json: key \"divergence/kl_p90\" is missing; delete it and measure again");
  rewrite([](Json& json) { json["damage"] = {{"block", 3}}; });
  refuses("measured.json: key \"damage\" is not a list; delete it");
  write("int4/measured.json", kept);
  const std::string bytes = env->read_text(weights, 1 << 24);
  std::string other = bytes;
  other.back() = static_cast<char>(other.back() ^ 1);
  write("int4/model.safetensors", other);
  refuses("is not what halftone.json says was written");
  write("int4/model.safetensors", bytes);
  // Another reference than the one it was measured against.
  std::vector<std::string> against_itself = verify;
  against_itself.insert(against_itself.end(), {"--reference", out});
  const Outcome wrong = halftone(against_itself);
  EXPECT_EQ(wrong.exit, 3);
  EXPECT_THAT(wrong.err, HasSubstr("reference_bytes was "));

  env->remove(file);  // as a kill before the card leaves it
  refuses("measured.json: is not there: nobody has measured this model");
  const Outcome again = halftone(words);
  ASSERT_EQ(again.exit, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("it was complete already"));
  EXPECT_EQ(parse_json(env->read_text(file, 1 << 20), file)["divergence"], measured["divergence"]);
  // What was measured is an output like any other: the same command refuses to replace it.
  EXPECT_EQ(halftone(words).exit, 2);
}

// What --tasks adds stays on the card and is measured again; a figure of it that is another is found.
TEST_F(Measure, VerifyAddsTasksToTheCard) {
  const std::string out = scratch.path("int4"), file = join_path(out, "measured.json");
  env->make_directories(scratch.path("data/piqa"));
  write("data/piqa/valid.jsonl", piqa_lines(12));
  const std::map<std::string, std::string> cache = {{"HALFTONE_CACHE", scratch.path("cache")}};
  ASSERT_EQ(halftone({"quantize", model, "--recipe", "rtn_int2_g16", "-o", out, "--quiet", "--data",
                      scratch.path("data"), "--measure-windows", "1"})
                .exit,
            0);
  std::vector<std::string> words = {"verify", out, "--data", scratch.path("data"), "--no-speed"};
  const auto verify = [&](const std::vector<std::string>& more) {
    std::vector<std::string> all = words;
    all.insert(all.end(), more.begin(), more.end());
    return halftone(all, cache);
  };
  EXPECT_EQ(verify({"--limit", "3"}).exit, 2);
  const Outcome added = verify({"--tasks", "piqa", "--limit", "8"});
  ASSERT_EQ(added.exit, 0) << added.err;
  EXPECT_THAT(added.out, HasSubstr("\n  piqa  "));
  Json kept = parse_json(env->read_text(file, 1 << 20), file);
  ASSERT_EQ(kept["tasks"].size(), 1u);
  EXPECT_EQ(kept["tasks"][0]["n"], 8);
  EXPECT_EQ(kept["tasks"][0]["limit"], 8);
  const Outcome again = verify({});
  EXPECT_EQ(again.exit, 0) << again.err;
  EXPECT_THAT(again.out, HasSubstr("tasks/piqa/value "));
  EXPECT_THAT(again.err,
              Not(HasSubstr("going on with an earlier run")));  // measured, not remembered
  EXPECT_EQ(parse_json(env->read_text(file, 1 << 20), file), kept);
  kept.erase("hash");
  kept["tasks"][0]["lost"] = 7;
  kept["hash"] = Hasher().add(kept.dump()).hex();
  write("int4/measured.json", kept.dump());
  const Outcome other = verify({});
  EXPECT_EQ(other.exit, 3);
  EXPECT_THAT(other.err, HasSubstr("tasks/piqa/lost was 7, measured again "));
}

// tests/tools/compare_kl.py recorded what transformers gives: float32 forward passes, all else in
// float64. Its tolerances.
TEST_F(Measure, DivergenceEqualsThatOfTransformers) {
  if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
  const std::string stories = join_path(data_dir(), "models/stories260k"),
                    fixture = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/eval/divergence",
                    four = scratch.path("four");
  const Json expected = parse_json(env->read_text(fixture + ".json", 1 << 16), "divergence.json");
  ASSERT_EQ(
      halftone({"quantize", stories, "--recipe", "rtn", "-o", four, "--quiet", "--no-measure"})
          .exit,
      0);
  const Json result = json_of({"compare", stories, four, "--text", fixture + ".txt", "--windows",
                               expected["windows"].dump(), "--window", expected["window"].dump(),
                               "--mode", "exact", "--no-speed", "--no-noise-floor"});
  EXPECT_EQ(result["positions"], expected["positions"]);
  for (const auto& [name, value] : expected["figures"].items()) {
    const double want = value;
    const bool perplexity = name.find("perplexity") != name.npos,
               share = name.ends_with("_agreement");
    // Near-ties aside, which this text has none of, a share is a count.
    const double relative = perplexity                 ? 1e-5
                            : share                    ? 1e-12
                            : name.ends_with("median") ? 8e-3  // the width of a bin
                                                       : 1e-4;
    EXPECT_NEAR(result["models"][1][name].get<double>(), want,
                relative * want + (perplexity || share ? 0 : 1e-6))
        << name;
  }
}

// The newest 256 tokens of a quantized cache are floats: half of a window of 512 sees nothing else,
// and of one of 256 all.
TEST_F(Measure, WhatAQuantizedCacheLosesIsMeasuredThroughIt) {
  if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
  const std::string stories = join_path(data_dir(), "models/stories260k"),
                    story = env->read_text(
                        std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/eval/divergence.txt",
                        1 << 16);
  write("text.txt", story + story);
  double floor = 0;
  const auto lost = [&](const char* kv, const char* window) {
    const Json result =
        json_of({"compare", stories, stories, "--kv", kv, "--text", scratch.path("text.txt"),
                 "--windows", "1", "--window", window, "--no-speed"});
    EXPECT_EQ(result["noise_floor"]["what"],
              "the reference with keys and values in f16 instead of f32");
    floor = result["noise_floor"]["kl_mean"];
    EXPECT_GT(floor, 0);
    return result["models"][1];
  };
  for (const Json& none : {lost("f32", "512"), lost("int4", "256")})
    for (const char* figure : {"kl_mean", "kl_max", "js_max"}) EXPECT_EQ(none[figure], 0);
  const Json two = lost("int2", "512"), four = lost("int4", "512");
  // 256 of the 511 positions that are scored, so the median is one of them.
  EXPECT_EQ(four["kl_median"], 0);
  EXPECT_GT(four["kl_p90"].get<double>(), 10 * floor);
  EXPECT_GT(four["kl_mean"].get<double>(), 10 * floor);
  EXPECT_GT(two["kl_mean"].get<double>(), 2 * four["kl_mean"].get<double>());
}

// Killed again and again, wherever it is: windows, answers, weights, damage.
TEST_F(Measure, ACompareThatIsKilledGoesOnAndEndsTheSame) {
  if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
  const std::string stories = join_path(data_dir(), "models/stories260k"),
                    four = scratch.path("four");
  ASSERT_EQ(
      halftone({"quantize", stories, "--recipe", "rtn", "-o", four, "--quiet", "--no-measure"})
          .exit,
      0);
  write("p", "Once upon a time\nLily and Ben went to the\n");
  const std::string text = env->read_text(join_path(data_dir(), "wikitext2/test.txt"), 1 << 24);
  write("text.txt", text.substr(0, 20000));
  const std::vector<std::string> words = {"compare",
                                          stories,
                                          four,
                                          "--text",
                                          scratch.path("text.txt"),
                                          "--windows",
                                          "24",
                                          "--window",
                                          "256",
                                          "--threads",
                                          "1",
                                          "--prompts",
                                          scratch.path("p"),
                                          "--tokens",
                                          "128",
                                          "--damage",
                                          "--no-speed",
                                          "--json"};
  const Outcome whole = halftone(words, {{"HALFTONE_CACHE", scratch.path("other")}});
  ASSERT_EQ(whole.exit, 0) << whole.err;
  const StoppedRun run =
      stopped_and_resumed(words, {.folder = scratch.path("cache/eval"), .most = 100},
                          {{"HALFTONE_CACHE", scratch.path("cache")}});
  EXPECT_GE(run.stopped.size(), 1u);
  EXPECT_THAT(run.last.err, HasSubstr("going on with an earlier run: "));
  EXPECT_EQ(run.last.out, whole.out);
  EXPECT_THAT(env->list(scratch.path("cache/eval")), testing::IsEmpty());
}

// The draws of a noise are resumed as windows are.
TEST_F(Measure, APerturbThatIsKilledGoesOnAndEndsTheSame) {
  if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
  const std::string four = scratch.path("four");
  ASSERT_EQ(halftone({"quantize", join_path(data_dir(), "models/stories260k"), "--recipe", "rtn",
                      "-o", four, "--quiet", "--no-measure"})
                .exit,
            0);
  const std::string text = env->read_text(join_path(data_dir(), "wikitext2/test.txt"), 1 << 24);
  write("text.txt", text.substr(0, 20000));
  const std::vector<std::string> words = {"perturb", four, "--text",    scratch.path("text.txt"),
                                          "--seeds", "10", "--threads", "1",
                                          "--json"};
  const Outcome whole = halftone(words, {{"HALFTONE_CACHE", scratch.path("other")}});
  ASSERT_EQ(whole.exit, 0) << whole.err;
  const StoppedRun run = stopped_and_resumed(words, {.folder = scratch.path("cache/eval")},
                                             {{"HALFTONE_CACHE", scratch.path("cache")}});
  EXPECT_EQ(run.stopped.size(), 1u);
  EXPECT_THAT(run.last.err, HasSubstr("going on with an earlier run: "));
  EXPECT_EQ(run.last.out, whole.out);
}

// Noise of no size is no noise; what it costs is told with its kind.
TEST_F(Measure, PerturbAndBenchSayWhatAModelCosts) {
  const std::string out = scratch.path("int4");
  ASSERT_EQ(halftone({"quantize", model, "--recipe", "rtn_int4_g16", "-o", out, "--quiet",
                      "--no-measure"})
                .exit,
            0);
  const Json noise = json_of({"perturb", out, "--data", scratch.path("data"), "--fractions",
                              "0,0.5", "--seeds", "2", "--window", "32"});
  ASSERT_EQ(noise["rows"].size(), 4u);
  for (const Json& row : noise["rows"]) {
    const bool none = row["fraction"] == 0;
    EXPECT_EQ(row["kl"]["mean"] == 0, none) << row;
    EXPECT_EQ(row["drop"]["mean"] == 0, none) << row;
    EXPECT_EQ(row["kl"]["variance"] == 0, none) << row;
    EXPECT_EQ(row["kl_by_seed"].size(), 2u);
  }
  EXPECT_EQ(halftone({"perturb", model, "--data", scratch.path("data")}).exit, 2);
  const std::string gguf = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/gguf/";
  EXPECT_THAT(halftone({"perturb", gguf + "llama_f16.gguf", "--data", scratch.path("data")}).err,
              HasSubstr("no quantized linears"));

  const Json bench = json_of({"bench", out, "--prefill", "16", "--decode", "8", "--repeat", "1",
                              "--threads", "1", "--speedup"});
  for (const char* type : {"f32", "bf16"})
    for (const char* what : {"prefill", "decode"})
      EXPECT_NEAR(bench["speedup"][type][what].get<double>(),
                  bench[what]["tok_s"].get<double>() /
                      bench["speedup"][type][std::string(what) + "_tok_s"].get<double>(),
                  1e-9);
  EXPECT_GT(bench["energy"]["decode_j_per_token"].get<double>(), 0);
  EXPECT_THAT(bench["energy"]["source"].get<std::string>(),
              testing::AnyOf(StartsWith("model"), StartsWith("RAPL")));
  EXPECT_EQ(bench["ratio_to_f32"]["effective"].get<double>(),
            32 / bench["bits_per_weight"].get<double>());
}

}  // namespace
}  // namespace halftone::tests
