// The families on real and broken configs, and the fold graph that is derived from them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "halftone/base/env.h"
#include "halftone/base/threads.h"
#include "halftone/files/test_gguf.h"
#include "halftone/spec/alibi.h"
#include "halftone/spec/checkpoint.h"
#include "halftone/spec/family.h"
#include "halftone/spec/fold_graph.h"
#include "halftone/spec/model_names.h"
#include "halftone/spec/pieces.h"
#include "halftone/spec/rescale.h"
#include "tests/support/recorded_models.h"

namespace halftone::spec {
namespace {

Json tiny_config(const std::string& model) {
  const std::string path =
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/" + model + "/config.json";
  return parse_json(posix_env()->read_text(path, 1 << 20), "config.json");
}

ModelSpec assemble(const Json& config) {
  ModelSpec spec = family_for(config, "config.json").entry.assemble(config, "config.json");
  validate(spec, "config.json");
  return spec;
}

std::string failure(const Json& config) {
  try {
    assemble(config);
  } catch (const Error& e) {
    return e.line();
  }
  return "accepted";
}

TEST(AlibiSlopes, FollowTheFormulaForPowersOfTwoAndBetween) {
  using testing::ElementsAre;
  EXPECT_THAT(alibi_slopes(8),
              ElementsAre(0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625));
  EXPECT_THAT(alibi_slopes(4), ElementsAre(0.25, 0.0625, 0.015625, 0.00390625));
  // Six heads: the four above, then every other one of the eight-head sequence.
  EXPECT_THAT(alibi_slopes(6), ElementsAre(0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125));
}

TEST(Spec, EveryTinyModelAssembles) {
  for (const std::string& model : tests::recorded_models()) {
    const ModelSpec spec = assemble(tiny_config(model));
    EXPECT_EQ(spec.blocks.size(), 2u) << model;
    EXPECT_GT(parameter_count(spec), 10000) << model;
  }
}

// What is found by walking the segments, and each tensor of an op changed in place.
TEST(Spec, SegmentsAndTensorsAreAllOfAModel) {
  for (const std::string& model : tests::recorded_models()) {
    ModelSpec spec = assemble(tiny_config(model));
    const auto segments = halftone::spec::segments(std::as_const(spec));
    ASSERT_EQ(segments.size(), spec.blocks.size() + 2) << model;
    for (const LinearRef& ref : linears(spec)) {
      const auto& ops = segments[static_cast<size_t>(ref.segment + 1)]->ops;
      EXPECT_TRUE(ref.op >= ops.data() && ref.op < ops.data() + ops.size()) << ref.op->name;
    }
    const size_t count = tensors(spec).size();
    for (Segment* segment : halftone::spec::segments(spec))
      for (Op& op : segment->ops) each_tensor(op, [](TensorRef& ref) { ref.name += "?"; });
    EXPECT_EQ(tensors(spec).size(), count) << model;
    for (const TensorRef& ref : tensors(spec)) EXPECT_TRUE(ref.name.ends_with("?")) << ref.name;
  }
}

TEST(ModelFiles, AreWhatBelongsToAModelAndNoMore) {
  const auto env = posix_env();
  const std::string folder =
      join_path(testing::TempDir(), "model_files" + std::to_string(getpid()));
  env->make_directories(join_path(folder, "below"));
  const auto paths = [&](const std::vector<std::string>& names) {
    std::vector<std::string> out;
    for (const std::string& name : names) out.push_back(join_path(folder, name));
    return out;
  };
  const auto all =
      paths({".hidden", "a-00001-of-00002.gguf", "a-00001-of-00003.gguf", "a-00002-of-00003.gguf",
             "b.gguf", "config.json", "measured.json", "xa-00001-of-00003.gguf"});
  for (const std::string& path : all) write_atomically(*env, path, "x");
  EXPECT_EQ(model_files(*env, folder),
            paths({"a-00001-of-00002.gguf", "a-00001-of-00003.gguf", "a-00002-of-00003.gguf",
                   "b.gguf", "config.json", "xa-00001-of-00003.gguf"}));
  for (const char* part : {"a-00001-of-00003.gguf", "a-00002-of-00003.gguf"})
    EXPECT_EQ(model_files(*env, join_path(folder, part)),
              paths({"a-00001-of-00003.gguf", "a-00002-of-00003.gguf"}));
  EXPECT_EQ(model_files(*env, join_path(folder, "b.gguf")), paths({"b.gguf"}));
  EXPECT_EQ(model_files(*env, join_path(folder, "none")), paths({}));
  env->remove_tree(folder);
}

TEST(Spec, TheSameRopeIsReadFromOldAndNewConfigs) {
  const auto dir = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/";
  for (const auto& [a, b] :
       {std::pair{"llama_rope_llama3/config.json", "llama_rope_llama3/config_v5.json"},
        std::pair{"llama_rope_linear/config.json", "llama_rope_linear/config_classic.json"},
        std::pair{"llama_rope_linear/config.json", "llama_rope_linear/config_oldest.json"}}) {
    const auto spec = [&](const std::string& name) {
      return assemble(parse_json(posix_env()->read_text(dir + name, 1 << 20), name));
    };
    EXPECT_EQ(spec(a), spec(b)) << b;
  }
}

TEST(Spec, RolesNameEveryLinearOfABlock) {
  const ModelSpec spec = assemble(tiny_config("llama_gqa_untied"));
  std::vector<std::string> roles;
  for (const LinearRef& ref : linears(spec))
    if (ref.segment == 0) roles.emplace_back(role_name(ref.linear().role));
  EXPECT_THAT(roles, testing::ElementsAre("query", "key", "value", "attention_out", "mlp_gate",
                                          "mlp_up", "mlp_down"));
}

const Fold* fold_of(const std::vector<Fold>& folds, const std::string& producer) {
  const auto it = std::find_if(folds.begin(), folds.end(),
                               [&](const Fold& f) { return f.producer == producer; });
  return it == folds.end() ? nullptr : &*it;
}

TEST(Pieces, CutBlocksWhereOneValueIsAlive) {
  const auto names = [](const std::string& model) {
    const ModelSpec spec = assemble(tiny_config(model));
    std::vector<std::string> out;
    for (const Segment& piece : pieces(spec.blocks[1], spec.width)) out.push_back(piece.name);
    return out;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(names("llama_gqa_untied"), (Names{"model.layers.1.self_attn", "model.layers.1.mlp"}));
  EXPECT_EQ(names("gpt2_tiny"), (Names{"transformer.h.1.attn", "transformer.h.1.mlp"}));
  EXPECT_EQ(names("bert_tiny"), (Names{"encoder.layer.1.attention", "encoder.layer.1"}));
  // Attention and MLP that both read the input are alive at once: one piece.
  ModelSpec parallel = assemble(tiny_config("llama_gqa_untied"));
  Segment& block = parallel.blocks[0];
  for (Op& op : block.ops)
    if (op.name.ends_with("post_attention_layernorm")) op.in[0].value = 0;
  EXPECT_EQ(pieces(block, parallel.width), std::vector<Segment>{block});
}

TEST(Pieces, TogetherAreTheBlock) {
  for (const std::string& model : tests::recorded_models()) {
    ModelSpec spec = assemble(tiny_config(model));
    for (const Segment& block : spec.blocks) {
      Segment joined{.name = block.name, .ops = {}};
      for (Segment piece : pieces(block, spec.width)) {
        const auto before = static_cast<int32_t>(joined.ops.size());
        for (Op& op : piece.ops) {
          op.out += before;
          for (View& view : op.in) view.value += before;
          joined.ops.push_back(op);
        }
      }
      EXPECT_EQ(joined, block) << model;
    }
    // As segments of their own they keep the width of the stream.
    std::vector<Segment> all;
    for (const Segment& block : spec.blocks)
      for (Segment& piece : pieces(block, spec.width)) all.push_back(std::move(piece));
    EXPECT_GE(all.size(), spec.blocks.size()) << model;
    spec.blocks = std::move(all);
    EXPECT_NO_THROW(validate(spec, model));
  }
}

TEST(FoldGraph, OfLlamaIsDerivedFromTheOps) {
  const ModelSpec spec = assemble(tiny_config("llama_gqa_untied"));
  const auto folds = fold_graph(spec);
  const std::string block = "model.layers.0";
  const Fold* norm = fold_of(folds, block + ".input_layernorm");
  ASSERT_NE(norm, nullptr);
  EXPECT_EQ(norm->consumers.size(), 3u);
  EXPECT_EQ(fold_of(folds, block + ".post_attention_layernorm")->consumers.size(), 2u);
  // Query heads that share a kv head share its factors.
  const Fold* value = fold_of(folds, block + ".self_attn.v_proj");
  ASSERT_NE(value, nullptr);
  ASSERT_EQ(value->consumers.size(), 1u);
  const auto& attention =
      std::get<Attention>(find_op(spec, block + ".self_attn.attention")->params);
  const auto& map = value->consumers[0].channel;
  ASSERT_EQ(static_cast<int64_t>(map.size()), attention.heads * attention.head_dim);
  const int64_t shared = attention.heads / attention.kv_heads;
  for (int64_t h = 0; h < attention.heads; ++h)
    for (int64_t d = 0; d < attention.head_dim; ++d)
      EXPECT_EQ(map[static_cast<size_t>(h * attention.head_dim + d)],
                h / shared * attention.head_dim + d);
  // Only the linear side of the gated product can carry a scale.
  EXPECT_NE(fold_of(folds, block + ".mlp.up_proj"), nullptr);
  EXPECT_EQ(fold_of(folds, block + ".mlp.gate_proj"), nullptr);
  EXPECT_EQ(fold_of(folds, block + ".self_attn.q_proj"), nullptr);
}

TEST(FoldGraph, OfPostNormBertHasOnlyTheValuePath) {
  const auto folds = fold_graph(assemble(tiny_config("bert_tiny")));
  // The norm of a post-norm block also feeds the residual, so no norm folds; v_proj -> dense does.
  for (const Fold& fold : folds) EXPECT_THAT(fold.producer, testing::EndsWith("self.value"));
  EXPECT_EQ(folds.size(), 2u);
}

TEST(FoldGraph, OfFusedQkvHasNone) {
  for (const Fold& fold : fold_graph(assemble(tiny_config("gpt2_tiny"))))
    EXPECT_TRUE(fold.producer_is_norm) << fold.producer;
}

TEST(Config, EachMistakeIsOneClearLine) {
  const auto with = [](const std::string& key, const Json& value) {
    Json config = tiny_config("llama_mha_tied");
    config[key] = value;
    return failure(config);
  };
  for (const char* key : {"hidden_size", "num_hidden_layers", "num_attention_heads",
                          "intermediate_size", "vocab_size"}) {
    for (const Json& bad : {Json(0), Json(-1), Json(int64_t{1} << 31), Json(uint64_t{1} << 63),
                            Json(32.5), Json("32"), Json(true), Json::array()}) {
      const std::string line = with(key, bad);
      EXPECT_THAT(line, testing::StartsWith("error[")) << key << bad;
      EXPECT_THAT(line, testing::HasSubstr("config.json: " + std::string(key))) << line;
    }
  }
  EXPECT_EQ(with("num_hidden_layers", 1000000000),
            "error[E_VALUE] config.json: num_hidden_layers is 1000000000, wanted 1 to 512");
  EXPECT_THAT(with("num_key_value_heads", 3), testing::HasSubstr("does not divide"));
  EXPECT_THAT(with("num_key_value_heads", 64), testing::HasSubstr("num_key_value_heads is 64"));
  EXPECT_THAT(with("rms_norm_eps", 0), testing::HasSubstr("rms_norm_eps is 0"));
  EXPECT_THAT(with("hidden_act", "swooosh"), testing::HasSubstr("known activations"));
  EXPECT_THAT(with("rope_scaling", Json{{"type", "dynamic"}, {"factor", 2.0}}),
              testing::HasSubstr("known: default, linear, llama3"));
  EXPECT_THAT(with("rope_scaling", Json{{"type", "linear"}, {"factor", 0}}),
              testing::HasSubstr("factor is 0"));
  EXPECT_THAT(with("architectures", Json{"XyzForCausalLM"}),
              testing::HasSubstr("known: BertModel"));
  EXPECT_EQ(with("max_position_embeddings", int64_t{1} << 40),
            "accepted");  // and allocates nothing
}

class Checkpoints : public testing::Test {
 protected:
  Checkpoints() {
    context.env = env.get();
    context.pool = &pool;
  }
  std::string fixture(const std::string& name) const {
    return std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/" + name;
  }
  std::unique_ptr<Env> env = posix_env();
  ThreadPool pool{1};
  Context context;
};

TEST_F(Checkpoints, EveryTinyFolderOpensWithAllItsTensors) {
  for (const char* model : {"llama_mha_tied", "llama_gqa_untied", "llama_gqa_untied_sharded",
                            "gpt2_tiny", "gpt2_tiny_bare", "bert_tiny"}) {
    const Checkpoint checkpoint = open_checkpoint(fixture(model), context);
    for (const TensorRef& ref : tensors(checkpoint.spec))
      EXPECT_EQ(checkpoint.tensors->read(ref.name).shape(), ref.shape) << ref.name;
  }
}

TEST_F(Checkpoints, AGgufIsTheSameModelAsItsFolder) {
  const std::string dir = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/";
  const std::vector<std::pair<std::string, std::string>> pairs = {
      {"llama_f32", "llama_gqa_untied"},
      {"llama_rope_llama3", "llama_rope_llama3"},
      {"llama_rope_linear", "llama_rope_linear"},
      {"llama_head_dim", "llama_head_dim"},
      {"gpt2_f32", "gpt2_tiny"},
      {"bert_f32", "bert_tiny"}};
  for (const auto& [gguf, folder] : pairs) {
    const Checkpoint a = open_checkpoint(dir + "gguf/" + gguf + ".gguf", context),
                     b = open_checkpoint(dir + "models/" + folder, context);
    EXPECT_EQ(a.spec.blocks, b.spec.blocks) << gguf;
    EXPECT_EQ(a.spec.prologue, b.spec.prologue) << gguf;
    if (gguf != "bert_f32") {  // GGUF drops the pooler
      EXPECT_EQ(a.spec.epilogue, b.spec.epilogue) << gguf;
    }
    for (const TensorRef& ref : tensors(a.spec)) {
      const HostTensor x = a.tensors->read(ref.name), y = b.tensors->read(ref.name);
      ASSERT_EQ(x.shape(), y.shape()) << ref.name;
      EXPECT_TRUE(std::ranges::equal(x.as<float>(), y.as<float>())) << gguf << " " << ref.name;
    }
  }
}

TEST_F(Checkpoints, RescalingKeepsEveryProductOfTheFoldGraph) {
  const Checkpoint checkpoint = open_checkpoint(fixture("llama_gqa_untied"), context);
  const std::string out = testing::TempDir() + "halftone_rescaled";
  write_rescaled(checkpoint, 1, 0.2, out, context, [](const std::string&) {});
  const Checkpoint scaled = open_checkpoint(out, context);
  int64_t changed = 0;
  for (const TensorRef& ref : tensors(checkpoint.spec)) {
    const HostTensor x = to_f32(checkpoint.tensors->read(ref.name)),
                     y = scaled.tensors->read(ref.name);
    changed += !std::ranges::equal(x.as<float>(), y.as<float>());
  }
  // Two norms, q, k, v, o, gate, up, down of each block; embedding, final norm and head stay.
  EXPECT_EQ(changed, 2 * 9);
  // Row k of the norm times column k of q is the same product as before.
  const std::string block = "model.layers.1.";
  const auto value = [](const Checkpoint& c, const std::string& name, size_t i) {
    return static_cast<double>(to_f32(c.tensors->read(name)).as<float>()[i]);
  };
  for (size_t k = 0; k < 32; ++k) {
    const double before = value(checkpoint, block + "input_layernorm.weight", k) *
                          value(checkpoint, block + "self_attn.q_proj.weight", k);
    const double after = value(scaled, block + "input_layernorm.weight", k) *
                         value(scaled, block + "self_attn.q_proj.weight", k);
    EXPECT_NEAR(after, before, std::abs(before) * 3 * 6e-8);  // three roundings to f32
  }
  env->remove_tree(out);
}

TEST_F(Checkpoints, ANameThatDoesNotExistSaysWhatDoes) {
  try {
    open_checkpoint("smolm", context);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.line(),
              "error[E_MISSING] smolm: no such file or folder, and no model of that name; known "
              "names: smollm2, smollm2-fp");
  }
}

TEST_F(Checkpoints, AHubNameResolvesInTheLocalCache) {
  const std::string hub = testing::TempDir() + "halftone_hub";
  env->remove_tree(hub);
  const std::string commit(40, 'a'), root = hub + "/models--org--tiny",
                                     snapshot = root + "/snapshots/" + commit;
  for (const std::string& folder : {root + "/refs", root + "/blobs", snapshot})
    env->make_directories(folder);
  write_atomically(*env, root + "/refs/main", commit);
  for (const char* name : {"config.json", "model.safetensors"}) {
    write_atomically(*env, root + "/blobs/" + name,
                     env->read_text(fixture("llama_mha_tied/") + name, 1 << 20));
    ASSERT_EQ(
        ::symlink((std::string("../../blobs/") + name).c_str(), (snapshot + "/" + name).c_str()),
        0);
  }
  ::setenv("HF_HUB_CACHE", hub.c_str(), 1);
  EXPECT_EQ(open_checkpoint("org/tiny", context).path, snapshot);
  EXPECT_EQ(open_checkpoint("org/tiny@" + commit, context).spec.blocks.size(), 2u);
  try {
    open_checkpoint("org/absent", context);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.line(),
              "error[E_MISSING] org/absent: is neither a path here nor in the hub cache " + hub +
                  "; run: halftone pull org/absent");
  }
  ::unsetenv("HF_HUB_CACHE");
  env->remove_tree(hub);
}

TEST_F(Checkpoints, AConfigThatContradictsTheWeightsIsRefused) {
  const std::string dir = testing::TempDir() + "halftone_contradiction";
  env->remove_tree(dir);
  env->make_directories(dir);
  write_atomically(*env, dir + "/model.safetensors",
                   env->read_text(fixture("llama_mha_tied/model.safetensors"), 1 << 20));
  const auto with = [&](const std::string& key, const Json& value) {
    Json config = tiny_config("llama_mha_tied");
    config[key] = value;
    write_atomically(*env, dir + "/config.json", config.dump());
    try {
      open_checkpoint(dir, context);
    } catch (const Error& e) {
      return e.line();
    }
    return std::string("accepted");
  };
  EXPECT_THAT(
      with("num_hidden_layers", 3),
      testing::AllOf(testing::StartsWith("error[E_MISSING]"),
                     testing::HasSubstr("\"model.layers.2.input_layernorm.weight\" is missing")));
  EXPECT_THAT(with("vocab_size", 77),
              testing::AllOf(testing::StartsWith("error[E_MISMATCH]"),
                             testing::HasSubstr("config.json says [77, 32]")));
  EXPECT_THAT(with("hidden_size", 64), testing::StartsWith("error[E_MISMATCH]"));
  EXPECT_THAT(with("head_dim", 4), testing::StartsWith("error[E_MISMATCH]"));
  EXPECT_THAT(with("tie_word_embeddings", false),
              testing::HasSubstr("tensor \"lm_head.weight\" is missing"));
  EXPECT_THAT(with("attention_bias", true), testing::HasSubstr("q_proj.bias\" is missing"));
  // Code that comes with a model is not ours to run.
  EXPECT_EQ(with("auto_map", {{"AutoModelForCausalLM", "modeling_evil.Evil"}}), "accepted");
  env->remove_tree(dir);
}

TEST_F(Checkpoints, AGgufWithStrangeRopeFactorsIsRefused) {
  using namespace files::testing_files;
  const std::string path = testing::TempDir() + "halftone_rope.gguf";
  for (const uint32_t type :
       {0u, 1u, 24u, 26u, 28u, 30u}) {  // f32, f16, i8, i32, f64, bf16: all zeros
    GgufBuilder b;
    b.key_text("general.architecture", "llama")
        .key_u32("llama.block_count", 1)
        .key_u32("llama.embedding_length", 32)
        .key_u32("llama.feed_forward_length", 32);
    b.key_u32("llama.attention.head_count", 2)
        .key_u32("llama.context_length", 64)
        .key_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    b.tensor("token_embd.weight", {32, 8}).tensor("rope_freqs.weight", {8}, type);
    write_atomically(*env, path, b.bytes());
    try {
      open_checkpoint(path, context);
      ADD_FAILURE() << type;
    } catch (const Error& e) {
      EXPECT_EQ(e.line(),
                "error[E_VALUE] " + path +
                    ": rope_scaling: factor is 0.0, wanted more than 0.0 and at most 1000000.0")
          << type;
    }
  }
  env->remove(path);
}

TEST_F(Checkpoints, AConfigOfOtherShapesIsRefusedBeforeAnyCompute) {
  const std::string dir = testing::TempDir() + "halftone_checkpoint";
  env->remove_tree(dir);
  env->make_directories(dir);
  Json config = tiny_config("llama_mha_tied");
  config["intermediate_size"] = 49;
  write_atomically(*env, dir + "/config.json", config.dump());
  write_atomically(*env, dir + "/model.safetensors",
                   env->read_text(fixture("llama_mha_tied/model.safetensors"), 1 << 20));
  try {
    open_checkpoint(dir, context);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::mismatch);
    EXPECT_THAT(e.line(), testing::HasSubstr("config.json says [49, 32]"));
  }
  env->remove_tree(dir);
}

}  // namespace
}  // namespace halftone::spec
