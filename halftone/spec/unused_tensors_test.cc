// Checkpoints that hold more than their config says, and GGUF metadata that asks for more than the
// family computes: refused or warned of, never dropped in silence. Ordinary extras stay harmless.
#include "halftone/spec/unused_tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halftone/base/threads.h"
#include "halftone/files/model_folder.h"
#include "halftone/files/safetensors.h"
#include "halftone/files/test_gguf.h"
#include "halftone/spec/checkpoint.h"

namespace halftone::spec {
namespace {

using files::testing_files::GgufBuilder;
using testing::HasSubstr;

class Unused : public testing::Test {
 protected:
  struct Extra {
    std::string name;
    Shape shape;
    float value = 0.5f;
  };

  Unused() { temp.context.pool = &pool; }

  std::string fixture(const std::string& name) const {
    return std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/" + name;
  }

  // Opens a copy of a tiny model with other config values and further tensors: "", the log, or the
  // error line.
  std::string open(const std::string& model, const Json& changes, const std::vector<Extra>& extra) {
    Env& env = *temp.context.env;
    const auto given = files::open_tensors(fixture(model), temp.context);
    std::vector<std::pair<std::string, HostTensor>> all;
    for (const auto& info : given->tensors()) all.emplace_back(info.name, given->read(info.name));
    for (const Extra& e : extra) {
      HostTensor t(DType::f32, e.shape);
      std::ranges::fill(t.as<float>(), e.value);
      all.emplace_back(e.name, std::move(t));
    }
    std::vector<std::pair<std::string, const HostTensor*>> named;
    for (const auto& [name, tensor] : all) named.emplace_back(name, &tensor);
    files::write_safetensors(env, temp.in("model.safetensors"), named);
    Json config = parse_json(env.read_text(fixture(model) + "/config.json", 1 << 20), "config");
    config.update(changes);
    temp.write("config.json", config.dump());
    return opened(temp.path());
  }

  std::string opened(const std::string& path) {
    temp.log.clear();
    try {
      open_checkpoint(path, temp.context);
    } catch (const Error& e) {
      return e.line();
    }
    return temp.log;
  }

  // One layer of width 32 with 2 heads, all zeros; `keys` adds metadata and tensors.
  std::string open_gguf(const std::function<void(GgufBuilder&)>& keys, uint32_t blocks = 1) {
    GgufBuilder b;
    b.key_text("general.architecture", "llama")
        .key_u32("llama.block_count", blocks)
        .key_u32("llama.embedding_length", 32)
        .key_u32("llama.feed_forward_length", 32)
        .key_u32("llama.attention.head_count", 2)
        .key_u32("llama.context_length", 64)
        .key_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    b.tensor("token_embd.weight", {32, 8}).tensor("output_norm.weight", {32});
    for (const char* name :
         {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
      b.tensor(std::string("blk.0.") + name + ".weight", {32, 32});
    for (const char* name : {"attn_norm", "ffn_norm"})
      b.tensor(std::string("blk.0.") + name + ".weight", {32});
    keys(b);
    return opened(temp.write("model.gguf", b.bytes()));
  }

  files::testing_files::TempFolder temp;
  ThreadPool pool{1};
};

TEST_F(Unused, LayersPastTheLastOneAreRefused) {
  EXPECT_EQ(open("llama_mha_tied", {{"num_hidden_layers", 1}}, {}),
            "error[E_MISMATCH] " + temp.in("model.safetensors") +
                ": holds tensor \"model.layers.1.input_layernorm.weight\" of a layer past the last "
                "one: num_hidden_layers of config.json is 1");
  EXPECT_THAT(open("gpt2_tiny_bare", {{"n_layer", 1}}, {}),
              HasSubstr("n_layer of config.json is 1"));
  EXPECT_THAT(open("bert_tiny", {{"num_hidden_layers", 1}}, {}), HasSubstr("E_MISMATCH"));
  EXPECT_EQ(open("llama_mha_tied", Json::object(), {}), "");
}

TEST_F(Unused, BlocksOfAGgufPastTheLastOneAreRefused) {
  EXPECT_EQ(open_gguf([](GgufBuilder&) {}), "");
  EXPECT_EQ(open_gguf([](GgufBuilder& b) {
              b.tensor("blk.1.attn_q.weight", {32, 32});
            }),
            "error[E_MISMATCH] " + temp.in("model.gguf") +
                ": holds tensor \"blk.1.attn_q.weight\" of a layer past the last one: "
                "llama.block_count of its metadata is 1");
}

TEST_F(Unused, ABiasThatTheConfigDoesNotKnowIsRefused) {
  const std::string bias = "model.layers.1.self_attn.q_proj.bias";
  EXPECT_THAT(open("llama_mha_tied", Json::object(), {{bias, {32}}}),
              testing::AllOf(testing::StartsWith("error[E_MISMATCH]"), HasSubstr(bias),
                             HasSubstr("attention_bias")));
  EXPECT_EQ(open("llama_mha_tied", Json::object(), {{bias, {32}, 0.0f}}), "");  // adds nothing
  for (const char* name : {"model.norm.bias", "model.layers.0.mlp.up_proj.lora_A.weight",
                           "lm_head.bias", "model.layers.0.self_attn.q_proj.weight_scale"})
    EXPECT_THAT(open("llama_mha_tied", Json::object(), {{name, {32}}}), HasSubstr("E_MISMATCH"))
        << name;
  EXPECT_THAT(open_gguf([](GgufBuilder& b) { b.tensor("blk.0.attn_k.scale", {1}); }),
              HasSubstr("E_MISMATCH"));
}

TEST_F(Unused, OrdinaryExtrasAreTakenWithoutAWord) {
  EXPECT_EQ(
      open("llama_mha_tied", Json::object(),
           {{"model.layers.0.self_attn.rotary_emb.inv_freq", {4}}, {"lm_head.weight", {96, 32}}}),
      "");
  EXPECT_EQ(open("gpt2_tiny_bare", Json::object(),
                 {{"h.0.attn.masked_bias", {1}}, {"lm_head.weight", {96, 32}}}),
            "");
  EXPECT_EQ(open("bert_tiny", Json::object(),
                 {{"embeddings.position_ids", {1, 64}}, {"cls.predictions.bias", {96}}}),
            "");
  EXPECT_EQ(open_gguf([](GgufBuilder& b) { b.tensor("blk.0.attn_rot_embd.weight", {8}); }), "");
}

TEST_F(Unused, WhatNoModuleOwnsIsNamed) {
  EXPECT_EQ(open("llama_mha_tied", Json::object(),
                 {{"model.layers.0.self_attn.q_norm.weight", {8}}, {"score.weight", {2, 32}}}),
            temp.in("model.safetensors") +
                ": \"model.layers.0.self_attn.q_norm.weight\" and 1 more tensors are not used\n");
  EXPECT_THAT(open_gguf([](GgufBuilder& b) { b.tensor("blk.0.attn_q_norm.weight", {16}); }),
              HasSubstr("\"blk.0.attn_q_norm.weight\" is not used"));
}

TEST_F(Unused, PartsOfPackedLinearsAreLeftToTheirReader) {
  const Json gptq = {{"quantization_config", {{"quant_method", "gptq"}, {"bits", 4}}}};
  const std::string q = "model.layers.0.self_attn.q_proj";
  EXPECT_EQ(open("llama_mha_tied", gptq,
                 {{q + ".qweight", {4, 32}}, {q + ".g_idx", {32}}, {q + ".bias", {32}}}),
            "");
  // A bias beside dense weights is read by nobody.
  EXPECT_THAT(open("llama_mha_tied", gptq, {{q + ".bias", {32}}}), HasSubstr("E_MISMATCH"));
}

TEST_F(Unused, GgufMetadataThatTheFamilyDoesNotComputeIsRefused) {
  const auto with = [&](const std::string& key, uint32_t value) {
    return open_gguf([&](GgufBuilder& b) { b.key_u32("llama." + key, value); });
  };
  EXPECT_EQ(with("rope.dimension_count", 16), "");
  EXPECT_EQ(with("rope.dimension_count", 8),
            "error[E_UNSUPPORTED] " + temp.in("model.gguf") +
                ": llama.rope.dimension_count is 8 and a head has 16 dimensions: rotating a part "
                "of them is not known for this architecture");
  EXPECT_EQ(with("expert_count", 0), "");
  EXPECT_EQ(with("expert_count", 8), "error[E_UNSUPPORTED] " + temp.in("model.gguf") +
                                         ": llama.expert_count is 8: mixtures of experts are not "
                                         "known; use a dense model");
  EXPECT_EQ(with("attention.key_length", 16), "");
  EXPECT_EQ(with("attention.value_length", 16), "");
  EXPECT_THAT(
      with("attention.value_length", 8),
      HasSubstr("llama.attention.value_length is 8, the keys of a head have 16 dimensions"));
  EXPECT_THAT(with("attention.key_length", 8),
              HasSubstr("\"blk.0.attn_q.weight\" has shape [32, 32], the metadata says [16, 32]"));
}

}  // namespace
}  // namespace halftone::spec
