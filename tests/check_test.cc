// halftone check as its users meet it: copies of a tiny model, each with one thing wrong.
#include <gmock/gmock.h>

#include <cstring>
#include <functional>

#include "tests/tiny_model.h"

namespace halftone::tests {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// What `halftone check` is tried on: copies of the tiny model, with one thing changed.
class Check : public TinyModel {
 protected:
  static inline const std::vector<std::string> kFiles = {"config.json", "model.safetensors",
                                                         "tokenizer.json", "tokenizer_config.json"};
  std::string read(const std::string& name) const {
    return env->read_text(scratch.path(name), 1 << 24);
  }
  std::string copy(const std::string& name, const std::string& without = "") const {
    env->make_directories(scratch.path(name));
    for (const std::string& file : kFiles)
      if (file != without) write(name + "/" + file, read("m/" + file));
    return scratch.path(name);
  }
  // The bytes of a tensor of `folder`, changed in place.
  void change(const std::string& folder, const std::string& tensor,
              const std::function<void(char* data, size_t bytes)>& how) const {
    std::string file = read(folder + "/model.safetensors");
    uint64_t header = 0;
    std::memcpy(&header, file.data(), sizeof(header));
    const Json at = parse_json(file.substr(8, header), "header")[tensor]["data_offsets"];
    ASSERT_TRUE(at.is_array()) << tensor;
    how(file.data() + 8 + header + at[0].get<size_t>(), at[1].get<size_t>() - at[0].get<size_t>());
    write(folder + "/model.safetensors", file);
  }
  void scale(const std::string& folder, const std::string& tensor, float factor) const {
    change(folder, tensor, [&](char* data, size_t bytes) {
      for (size_t i = 0; i < bytes; i += sizeof(float)) {
        float v = 0;
        std::memcpy(&v, data + i, sizeof(v));
        v *= factor;
        std::memcpy(data + i, &v, sizeof(v));
      }
    });
  }
  Outcome check(const std::string& name, std::vector<std::string> more) const {
    std::vector<std::string> words = {"check",    name, "--data", scratch.path("data"),
                                      "--window", "32", "--json"};
    words.insert(words.end(), more.begin(), more.end());
    return halftone(words, {{"HALFTONE_CACHE", scratch.path("cache")}});
  }
  // "fault bos", "note chat_template" of each finding; `texts` gets what they say.
  std::vector<std::string> findings(const Outcome& outcome, std::string* texts = nullptr) const {
    std::vector<std::string> out;
    const Json result = parse_json(outcome.out, outcome.err);
    for (const Json& f : result["findings"]) {
      out.push_back(f["level"].get<std::string>() + " " + f["kind"].get<std::string>());
      if (texts) *texts += f["text"].get<std::string>() + "; " + f.value("remedy", "-") + "\n";
    }
    return out;
  }
};

// The damage of 8-bit rounding on a tiny model, and a name that contradicts the tensors.
TEST_F(Check, LaysTheDamageAtUnitsAndFindsWrongLabels) {
  const std::string eight = scratch.path("m-4bit");
  ASSERT_EQ(
      halftone({"quantize", model, "--recipe", "rtn_int8", "-o", eight, "--quiet", "--no-measure"})
          .exit,
      0);
  const Outcome one = check(eight, {"--reference", model, "--threads", "1"});
  const Json result = parse_json(one.out, one.err);
  EXPECT_EQ(keys_of(result),
            (std::set<std::string>{"model", "path", "family", "reference", "reference_from", "card",
                                   "data", "protocol", "windows", "window", "layers",
                                   "diverges_above", "first_divergence", "inputs", "units",
                                   "units_measured", "advice", "findings", "weights"}));
  std::set<std::string> kinds;
  for (const Json& unit : result["units"]) {
    kinds.insert(unit["kind"]);
    EXPECT_GE(unit["kl_only"], 0);
    EXPECT_GT(unit["bytes"], 0);
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"block", "role", "table", "linear"}));
  EXPECT_EQ(result["advice"], Json::array());  // all of it has 8 bits already
  EXPECT_EQ(result["reference_from"], "--reference");
  std::string texts;
  EXPECT_THAT(findings(one, &texts), ElementsAre("warning label"));
  EXPECT_THAT(texts, HasSubstr("the name says 4 bits, its linears take 8."));
  // q, k and v read one value, gate and up another; o, down, the head.
  const size_t blocks = result["layers"].size();
  ASSERT_EQ(result["inputs"].size(), 4 * blocks + 1);
  EXPECT_EQ(result["inputs"][0]["ops"].size(), 3u);
  EXPECT_EQ(result["inputs"].back()["role"], "head");
  EXPECT_EQ(result["inputs"].back()["block"], Json());

  EXPECT_EQ(check(eight, {"--reference", model, "--threads", "2"}).out, one.out);
  EXPECT_EQ(result["units_measured"]["kl_mean"], result["card"]["kl_mean"]);

  // Compare lays the same damage at the same units, and calls the linears by the same names.
  const Outcome two = halftone({"compare", model, eight, "--data", scratch.path("data"), "--window",
                                "32", "--windows", "2", "--no-speed", "--damage", "--json"});
  const Json compared = parse_json(two.out, two.err)["models"][1];
  for (const char* key : {"units", "units_measured", "advice"})
    EXPECT_EQ(compared[key], result[key]) << key;
  for (size_t i = 0; i < compared["weights"].size(); ++i)
    for (const auto& [key, value] : compared["weights"][i].items())
      EXPECT_EQ(value, result["weights"][i][key]) << key;

  // As a person reads it: the card of quantize and verify, without what was not measured.
  const Outcome text = halftone({"check", eight, "--data", scratch.path("data"), "--window", "32",
                                 "--reference", model, "--quiet"});
  EXPECT_THAT(text.out, testing::StartsWith(model + " ->"));
  EXPECT_THAT(text.out, HasSubstr("another first choice\n\n  size  "));
  EXPECT_THAT(text.out, HasSubstr("\n           median "));
  EXPECT_THAT(text.out, testing::Not(HasSubstr("measured.json")));
  // The highest of the bars that weights are drawn with.
  EXPECT_THAT(text.out, HasSubstr("\xe2\x96\x88"));

  // The reference itself has nothing to lose.
  const Outcome same = check(copy("same"), {"--reference", model});
  const Json none = parse_json(same.out, same.err);
  EXPECT_EQ(none["card"]["kl_mean"], 0);
  EXPECT_EQ(none["units"], Json::array());
  EXPECT_EQ(none["first_divergence"], Json());
  EXPECT_EQ(none["findings"], Json::array());
}

TEST_F(Check, FindsWhatIsWrongWithTheText) {
  const auto against_m = [&](const std::string& name) {
    return check(name, {"--reference", model, "--fast"});
  };
  std::string texts;
  EXPECT_THAT(findings(against_m(copy("bare", "tokenizer_config.json"))),
              ElementsAre("fault chat_template"));
  copy("other");
  write("other/tokenizer_config.json", R"({"chat_template": "{{ messages[0].content }}"})");
  EXPECT_THAT(findings(against_m(scratch.path("other"))), ElementsAre("note chat_template"));
  copy("eos");
  write("eos/generation_config.json", R"({"eos_token_id": 5})");
  EXPECT_THAT(findings(against_m(scratch.path("eos"))), ElementsAre("warning eos"));
  EXPECT_THAT(findings(against_m(copy("mute", "tokenizer.json")), &texts),
              ElementsAre("fault tokenizer"));
  EXPECT_THAT(texts, HasSubstr("has no tokenizer; take the reference's\n"));

  // Two letters with each other's ids.
  copy("swapped");
  Json tokenizer = parse_json(read("m/tokenizer.json"), "tokenizer.json");
  Json swapped = tokenizer;
  std::swap(swapped["model"]["vocab"]["O"], swapped["model"]["vocab"]["n"]);
  write("swapped/tokenizer.json", swapped.dump());
  texts.clear();
  EXPECT_THAT(findings(against_m(scratch.path("swapped")), &texts), ElementsAre("fault tokenizer"));
  EXPECT_THAT(texts, HasSubstr("swapped/tokenizer.json: cuts text into other tokens"));

  // A reference that begins every text with BOS.
  const std::string starts = copy("starts");
  tokenizer["post_processor"] = parse_json(R"({"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "!", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
      "special_tokens": {"!": {"id": "!", "ids": [0], "tokens": ["!"]}}})",
                                           "post_processor");
  tokenizer["added_tokens"] = Json::array({{{"id", 0},
                                            {"content", "!"},
                                            {"special", true},
                                            {"single_word", false},
                                            {"lstrip", false},
                                            {"rstrip", false},
                                            {"normalized", false}}});
  write("starts/tokenizer.json", tokenizer.dump());
  Json config = parse_json(read("m/tokenizer_config.json"), "tokenizer_config.json");
  config["bos_token"] = "!";
  write("starts/tokenizer_config.json", config.dump());
  texts.clear();
  EXPECT_THAT(findings(check(model, {"--reference", starts, "--fast"}), &texts),
              ElementsAre("fault bos"));
  EXPECT_THAT(texts, HasSubstr("m/tokenizer.json: adds no BOS, the reference's begins every text "
                               "with one; take the reference's tokenizer\n"));
  EXPECT_THAT(findings(check(starts, {"--reference", model, "--fast"})), ElementsAre("fault bos"));

  // Alone.
  EXPECT_THAT(findings(check(copy("m-chat", "tokenizer_config.json"), {})),
              ElementsAre("warning chat_template"));
  texts.clear();
  EXPECT_THAT(findings(check(scratch.path("mute"), {}), &texts), ElementsAre("fault tokenizer"));
  EXPECT_THAT(texts, HasSubstr("nothing was run"));

  // A random model that attends strongly, and a BOS that happens to help it.
  copy("helped");
  for (const char* block : {"0", "1"})
    scale("helped", "model.layers." + std::string(block) + ".self_attn.o_proj.weight", 16);
  write("helped/tokenizer_config.json", R"({"bos_token": "Z", "chat_template": "x"})");
  texts.clear();
  EXPECT_THAT(findings(check(scratch.path("helped"), {}), &texts), ElementsAre("note bos"));
  EXPECT_THAT(texts, HasSubstr("helped/tokenizer.json: adds no BOS, and with one in front "
                               "perplexity falls from "));

  const Outcome refused =
      check(std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/packed/ct_int4_sym_g16",
            {"--reference", model});
  EXPECT_EQ(refused.exit, 2);
  EXPECT_THAT(refused.err, HasSubstr("ct_int4_sym_g16: has a vocabulary of 64, "));
  EXPECT_THAT(refused.err, HasSubstr("; compare a model with what it was made from\n"));
}

TEST_F(Check, FindsWeightsThatAreBrokenScaledOrAnothers) {
  const std::string bad = scratch.path("bad");
  ASSERT_EQ(
      halftone({"quantize", model, "--recipe", "rtn_int8", "-o", bad, "--quiet", "--no-measure"})
          .exit,
      0);
  change("bad", "model.layers.1.mlp.up_proj.weight_scale",
         [](char* data, size_t) { std::memset(data + 4, 0xff, 2); });
  std::string texts;
  // Bytes that are not what was written are bad input; without the receipt, bad numbers.
  const Outcome other = check(bad, {"--reference", model});
  EXPECT_EQ(other.exit, 3);
  EXPECT_THAT(findings(other), ElementsAre("fault weights"));
  env->remove(join_path(bad, "halftone.json"));
  const Outcome broken = check(bad, {"--reference", model});
  EXPECT_EQ(broken.exit, 6);
  EXPECT_THAT(findings(broken, &texts), ElementsAre("fault weights"));
  EXPECT_THAT(texts, HasSubstr("model.layers.1.mlp.up_proj: "));
  EXPECT_THAT(texts, HasSubstr("is not finite"));
  EXPECT_FALSE(parse_json(broken.out, "out").contains("layers"));  // nothing was run

  // Half of the query's weights to the norm: the same function, but not op by op.
  copy("folded");
  for (const char* name : {"q_proj", "k_proj", "v_proj"})
    scale("folded", "model.layers.0.self_attn." + std::string(name) + ".weight", 0.5f);
  scale("folded", "model.layers.0.input_layernorm.weight", 2);
  texts.clear();
  const Outcome folded = check(scratch.path("folded"), {"--reference", model});
  EXPECT_THAT(findings(folded, &texts), ElementsAre("note folded"));
  EXPECT_THAT(texts, HasSubstr("only whole blocks are exchanged"));
  EXPECT_NEAR(parse_json(folded.out, "out")["card"]["kl_mean"].get<double>(), 0, 1e-9);

  copy("turned");
  scale("turned", "model.layers.0.self_attn.q_proj.weight", -1);
  texts.clear();
  EXPECT_THAT(findings(check(scratch.path("turned"), {"--reference", model}), &texts),
              ElementsAre("warning weights", "note folded"));
  EXPECT_THAT(texts, HasSubstr("q_proj: weights further from the reference's than zeros would be "
                               "(200 %)"));
}

// Up to the block that was changed all is equal, from there on nothing: in check, and in compare.
TEST_F(Check, NamesTheFirstBlockThatDiverges) {
  const std::string late = copy("late");
  scale("late", "model.layers.1.mlp.down_proj.weight", 40);
  const std::string line = " are off by more than 10 % from model.layers.1 on; behind each block";
  const auto run = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"--data", scratch.path("data"), "--window", "32", "--quiet"});
    const Outcome text = halftone(words);
    EXPECT_THAT(text.out, HasSubstr(line)) << text.err;
    words.push_back("--json");
    const Outcome json = halftone(words);
    return parse_json(json.out, json.err);
  };
  const Json checked = run({"check", late, "--reference", model, "--fast"}),
             compared = run({"compare", model, late, "--no-speed", "--windows", "1"});
  for (const Json& row : {checked, compared["models"][1]}) {
    EXPECT_EQ(row["first_divergence"], "model.layers.1");
    EXPECT_EQ(row["layers"][0]["hidden_error"], 0);
    EXPECT_GT(row["layers"][1]["hidden_error"], row["diverges_above"]);
  }
  EXPECT_FALSE(compared["models"][0].contains("layers"));
}

// measured.json names it; the weights that halftone.json has the hash of say whether it still is.
TEST_F(Check, TakesTheReferenceThatWasMeasuredAgainst) {
  const std::string four = scratch.path("four");
  const Outcome made = halftone({"quantize", model, "--recipe", "rtn_int4_g16", "-o", four,
                                 "--data", scratch.path("data"), "--quiet"});
  ASSERT_EQ(made.exit, 0) << made.err;
  const auto reference = [&] {
    const Outcome outcome = check(four, {"--fast", "--quiet"});
    const Json result = parse_json(outcome.out, outcome.err);
    return std::pair(result["reference"], result["reference_from"]);
  };
  EXPECT_EQ(reference(), std::pair(Json(model), Json("measured.json")));
  scale("m", "model.layers.0.mlp.up_proj.weight", 2);
  EXPECT_EQ(reference(), std::pair(Json(), Json()));
}

// Killed between two units.
TEST_F(Check, GoesOnWhereItWasKilledAndEndsTheSame) {
  if (data_dir().empty()) GTEST_SKIP() << "HALFTONE_DATA is not set: stories260K is not here";
  const std::string stories = join_path(data_dir(), "models/stories260k");
  const std::string four = scratch.path("four");
  ASSERT_EQ(
      halftone({"quantize", stories, "--recipe", "rtn", "-o", four, "--quiet", "--no-measure"})
          .exit,
      0);
  const std::map<std::string, std::string> environment = {
      {"HALFTONE_CACHE", scratch.path("cache")}};
  const std::vector<std::string> words = {
      "check", four,       "--reference", stories,     "--data", data_dir(), "--windows",
      "2",     "--window", "256",         "--threads", "1",      "--json"};
  const Outcome whole = halftone(words, environment);
  ASSERT_EQ(whole.exit, 0) << whole.err;
  const std::string journals = scratch.path("cache/eval");
  const StoppedRun run = stopped_and_resumed(words, {.folder = journals}, environment);
  EXPECT_EQ(run.stopped.size(), 1u);
  EXPECT_THAT(run.last.err, HasSubstr("going on with an earlier run: "));
  EXPECT_EQ(run.last.out, whole.out);
  EXPECT_THAT(env->list(journals), testing::IsEmpty());
}

}  // namespace
}  // namespace halftone::tests
