// Every whole number of every family's config.json, with every value that makes no sense: refused
// with a typed error that names the key.
#include <gtest/gtest.h>

#include "halftone/base/env.h"
#include "halftone/spec/family.h"

namespace halftone::spec {
namespace {

Json tiny(const std::string& model) {
  const std::string path =
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/" + model + "/config.json";
  return parse_json(posix_env()->read_text(path, 1 << 20), "config.json");
}

// What assembling gives: the code of its error, Code::internal when it is accepted. `line` receives
// the error's text.
Code assembled(const Json& config, std::string* line = nullptr) {
  try {
    validate(family_for(config, "config.json").entry.assemble(config, "config.json"),
             "config.json");
  } catch (const Error& e) {
    if (line != nullptr) *line = e.line();
    return e.code();
  }
  return Code::internal;
}

const std::vector<std::pair<std::string, std::vector<std::string>>> kSizes = {
    {"llama_gqa_untied",
     {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
      "intermediate_size", "vocab_size", "max_position_embeddings"}},
    {"mistral_window", {"sliding_window"}},
    {"llama_head_dim", {"head_dim"}},
    {"gpt2_tiny", {"n_embd", "n_layer", "n_head", "vocab_size", "n_positions"}},
    {"bert_tiny",
     {"hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size",
      "max_position_embeddings", "type_vocab_size"}},
};

TEST(ConfigCases, WholeNumbersThatMakeNoSenseAreRefusedByName) {
  for (const auto& [model, keys] : kSizes) {
    ASSERT_EQ(assembled(tiny(model)), Code::internal) << model;
    for (const std::string& key : keys) {
      for (const char* literal : {"0", "-1", "9223372036854775807", "9223372036854775808", "32.5",
                                  "\"32\"", "true", "[32]"}) {
        if (key == "type_vocab_size" && std::string(literal) == "0")
          continue;  // a model without token types
        Json config = tiny(model);
        config[key] = Json::parse(literal);
        std::string line;
        const Code code = assembled(config, &line);
        const bool wrong_type = config[key].is_number_float() || !config[key].is_number();
        EXPECT_EQ(code, wrong_type ? Code::type : Code::value)
            << model << " " << key << " = " << literal << ": " << line;
        EXPECT_NE(line.find(key), std::string::npos)
            << model << " " << key << " = " << literal << ": " << line;
        EXPECT_NE(line.find("config.json"), std::string::npos) << line;
      }
    }
  }
}

TEST(ConfigCases, HugeSizesAreRefusedOrCostNothing) {
  // 2^31 and 10^9 may be in range of one key or another; what counts is that nothing is allocated
  // for them.
  for (const auto& [model, keys] : kSizes) {
    for (const std::string& key : keys) {
      for (const int64_t value : {int64_t{1} << 31, int64_t{1} << 40, int64_t{1'000'000'000}}) {
        Json config = tiny(model);
        config[key] = value;
        const Code code = assembled(config);
        if (key.find("layer") != std::string::npos)
          EXPECT_EQ(code, Code::value) << model << " " << key << " = " << value;
        else
          EXPECT_TRUE(code == Code::value || code == Code::mismatch || code == Code::internal)
              << model << " " << key << " = " << value;
      }
    }
  }
}

TEST(ConfigCases, ContradictionsAreRefused) {
  const auto with = [](const std::string& model, const std::string& key, const Json& value) {
    Json config = tiny(model);
    config[key] = value;
    return assembled(config);
  };
  EXPECT_EQ(with("llama_gqa_untied", "num_attention_heads", 5), Code::value);
  EXPECT_EQ(with("llama_gqa_untied", "num_key_value_heads", 3), Code::value);
  EXPECT_EQ(with("llama_gqa_untied", "num_key_value_heads", 8), Code::value);
  EXPECT_EQ(with("gpt2_tiny", "n_head", 5), Code::value);
  EXPECT_EQ(with("bert_tiny", "num_attention_heads", 5), Code::value);
  for (const Json& eps : {Json(0), Json(-1e-6), Json("1e-6"), Json(true)})
    EXPECT_TRUE(with("llama_gqa_untied", "rms_norm_eps", eps) == Code::value ||
                with("llama_gqa_untied", "rms_norm_eps", eps) == Code::type)
        << eps;
  EXPECT_EQ(with("llama_gqa_untied", "rope_theta", 0), Code::value);
  EXPECT_EQ(with("llama_gqa_untied", "rope_theta", -10000.0), Code::value);
  EXPECT_EQ(with("llama_gqa_untied", "rope_scaling", Json{{"rope_type", "linear"}, {"factor", 0}}),
            Code::value);
  EXPECT_EQ(with("llama_gqa_untied", "rope_scaling", Json::array()), Code::type);
}

TEST(ConfigCases, EveryValueOfEveryFamilyReplaced) {
  // Whatever stands where: a model, or a typed error of one line that names the file.
  const std::vector<Json> values = {nullptr,
                                    true,
                                    0,
                                    -1,
                                    int64_t{1} << 31,
                                    uint64_t{1} << 63,
                                    32.5,
                                    -1e300,
                                    "32",
                                    "",
                                    Json::array(),
                                    Json::array({1, "a"}),
                                    Json::object(),
                                    Json{{"a", {{"b", 1}}}}};
  int64_t refused = 0;
  for (const char* model : {"llama_gqa_untied", "mistral_window", "llama_head_dim",
                            "llama_rope_llama3", "llama_rope_linear", "gpt2_tiny", "bert_tiny"}) {
    const Json flat = tiny(model).flatten();
    for (const auto& [pointer, old] : flat.items()) {
      for (const Json& value : values) {
        Json config = tiny(model);
        config[Json::json_pointer(pointer)] = value;
        std::string line = "error[E_VALUE] config.json: ";
        EXPECT_NO_THROW(assembled(config, &line)) << model << " " << pointer << " = " << value;
        EXPECT_TRUE(line.starts_with("error[E_") && line.find("config.json") != std::string::npos &&
                    !line.starts_with("error[E_INTERNAL]"))
            << model << " " << pointer << " = " << value << ": " << line;
        refused += line != "error[E_VALUE] config.json: ";
      }
    }
  }
  EXPECT_GT(refused, 300);
}

TEST(ConfigCases, WhatIsUnknownIsNeverIgnored) {
  const auto with = [](const std::string& model, const std::string& key, const Json& value) {
    Json config = tiny(model);
    config[key] = value;
    std::string line = "accepted";
    assembled(config, &line);
    return line;
  };
  for (const auto& line :
       {with("llama_gqa_untied", "rope_scaling", Json{{"rope_type", "swirl"}, {"factor", 2.0}}),
        with("llama_gqa_untied", "hidden_act", "swish9"),
        with("gpt2_tiny", "activation_function", "swish9"),
        with("bert_tiny", "hidden_act", "swish9"),
        with("llama_gqa_untied", "architectures", Json::array({"Unheard"}))})
    EXPECT_TRUE(line.starts_with("error[E_")) << line;
}

}  // namespace
}  // namespace halftone::spec
