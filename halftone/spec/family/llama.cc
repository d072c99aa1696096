// LLaMA 1, 2, 3, Mistral, SmolLM2: pre-norm RMSNorm, rotary attention with shared key-value heads,
// gated MLP. The family to copy when writing another one.
#include <cmath>

#include "halftone/spec/assemble.h"
#include "halftone/spec/family.h"
#include "halftone/spec/gguf_config.h"

namespace halftone::spec {
namespace {

ModelSpec assemble(const Json& json, const std::string& path) {
  const files::ConfigReader config(json, path);
  const bool mistral = config.text("model_type", "llama") == "mistral";
  const int64_t width = config.integer("hidden_size", 1, kMaxWidth);
  const int64_t layers = config.integer("num_hidden_layers", 1, kMaxLayers);
  const int64_t heads = config.integer("num_attention_heads", 1, kMaxHeads);
  const int64_t kv_heads = config.integer("num_key_value_heads", 1, heads, heads);
  const int64_t inner = config.integer("intermediate_size", 1, kMaxWidth);
  const double eps = config.number("rms_norm_eps", 0, 1, 1e-6);
  const bool attention_bias = config.boolean("attention_bias", false);
  const bool mlp_bias = config.boolean("mlp_bias", false);
  if (!config.has("head_dim") && width % heads != 0)
    config.fail(
        Code::value, "hidden_size",
        "is " + std::to_string(width) + ", not a multiple of " + std::to_string(heads) + " heads");
  if (heads % kv_heads != 0)
    config.fail(Code::value, "num_key_value_heads",
                "is " + std::to_string(kv_heads) + ", which does not divide " +
                    std::to_string(heads) + " heads");
  const int64_t head_dim = config.integer("head_dim", 2, kMaxWidth, width / heads);
  const Activation::Kind act = activation_from(config, "hidden_act");

  Attention attention;
  attention.heads = heads;
  attention.kv_heads = kv_heads;
  attention.head_dim = head_dim;
  attention.scale = 1.0 / std::sqrt(static_cast<double>(head_dim));
  attention.rope = rope_from(config, head_dim, 10000.0);
  if (mistral && config.has("sliding_window"))
    attention.window = config.integer("sliding_window", 1, kMaxContext);

  ModelSpec spec;
  spec.output = ModelSpec::Output::language_model;
  spec.vocabulary = config.integer("vocab_size", 1, kMaxVocabulary);
  spec.width = width;
  spec.context = config.integer("max_position_embeddings", 1, kMaxContext, 2048);
  spec.tied_head = config.boolean("tie_word_embeddings", false);

  const TensorRef embedding{"model.embed_tokens.weight", {spec.vocabulary, width}};
  SegmentBuilder prologue("");
  prologue.embed("model.embed_tokens", {.table = embedding});
  spec.prologue = prologue.take();

  for (int64_t i = 0; i < layers; ++i) {
    const std::string block = "model.layers." + std::to_string(i);
    const std::string self = block + ".self_attn", mlp = block + ".mlp";
    SegmentBuilder b(block);
    const int32_t n1 =
        b.norm(block + ".input_layernorm", 0, rms_norm_of(block + ".input_layernorm", width, eps));
    const int32_t q =
        b.linear(self + ".q_proj", n1,
                 linear_of(self + ".q_proj", width, heads * head_dim, attention_bias, Role::query));
    const int32_t k = b.linear(
        self + ".k_proj", n1,
        linear_of(self + ".k_proj", width, kv_heads * head_dim, attention_bias, Role::key));
    const int32_t v = b.linear(
        self + ".v_proj", n1,
        linear_of(self + ".v_proj", width, kv_heads * head_dim, attention_bias, Role::value));
    const int32_t a = b.attention(self + ".attention", {q}, {k}, {v}, attention);
    const int32_t o = b.linear(
        self + ".o_proj", a,
        linear_of(self + ".o_proj", heads * head_dim, width, attention_bias, Role::attention_out));
    const int32_t r1 = b.add(block + ".attention_residual", 0, o);
    const int32_t n2 = b.norm(block + ".post_attention_layernorm", r1,
                              rms_norm_of(block + ".post_attention_layernorm", width, eps));
    const int32_t g =
        b.linear(mlp + ".gate_proj", n2,
                 linear_of(mlp + ".gate_proj", width, inner, mlp_bias, Role::mlp_gate));
    const int32_t s = b.activation(mlp + ".act", g, act);
    const int32_t u = b.linear(mlp + ".up_proj", n2,
                               linear_of(mlp + ".up_proj", width, inner, mlp_bias, Role::mlp_up));
    const int32_t m = b.multiply(mlp + ".gated", s, u);
    const int32_t d =
        b.linear(mlp + ".down_proj", m,
                 linear_of(mlp + ".down_proj", inner, width, mlp_bias, Role::mlp_down));
    b.add(block + ".mlp_residual", r1, d);
    spec.blocks.push_back(b.take());
  }

  SegmentBuilder epilogue("");
  const int32_t norm = epilogue.norm("model.norm", 0, rms_norm_of("model.norm", width, eps));
  Linear head = linear_of("lm_head", width, spec.vocabulary, false, Role::head);
  if (spec.tied_head) head.weight = embedding;
  epilogue.linear("lm_head", norm, head);
  spec.epilogue = epilogue.take();
  return spec;
}

Json config_from_gguf(const files::GgufFile& file) {
  const GgufArchitecture meta(file);
  Json config;
  config["architectures"] = {"LlamaForCausalLM"};
  config["model_type"] = "llama";
  config["hidden_act"] = "silu";
  config["hidden_size"] = meta.integer("embedding_length");
  config["intermediate_size"] = meta.integer("feed_forward_length");
  config["num_hidden_layers"] = meta.integer("block_count");
  config["num_attention_heads"] = meta.integer("attention.head_count");
  config["num_key_value_heads"] =
      meta.integer("attention.head_count_kv", meta.integer("attention.head_count"));
  config["max_position_embeddings"] = meta.integer("context_length");
  config["rms_norm_eps"] = meta.number("attention.layer_norm_rms_epsilon");
  config["rope_theta"] = meta.number("rope.freq_base", 10000.0);
  meta.refuse_experts();
  if (const int64_t dims = meta.head_dim(); meta.has("attention.key_length"))
    config["head_dim"] = dims;
  if (meta.has("attention.sliding_window") && meta.integer("attention.sliding_window") > 0) {
    config["model_type"] = "mistral";
    config["architectures"] = {"MistralForCausalLM"};
    config["sliding_window"] = meta.integer("attention.sliding_window");
  }
  const std::string scaling = meta.text("rope.scaling.type", "none");
  if (scaling == "linear") {
    config["rope_scaling"] = {{"rope_type", "linear"},
                              {"factor", meta.number("rope.scaling.factor")}};
  } else if (scaling != "none") {
    throw UnsupportedError(meta.path(), "rope scaling " + quote(scaling) + " of GGUF is not known",
                           "known: none, linear, and the rope_freqs tensor");
  }
  config["vocab_size"] = meta.vocabulary();
  config["tie_word_embeddings"] = !meta.has_tensor("output.weight");
  config["attention_bias"] = meta.has_tensor("blk.0.attn_q.bias");
  config["mlp_bias"] = meta.has_tensor("blk.0.ffn_gate.bias");
  meta.special_ids(config);
  return config;
}

std::optional<GgufTensor> gguf_tensor(const std::string& name, const Json& config) {
  static const GgufNames names{.top = {{"model.embed_tokens", "token_embd"},
                                       {"model.norm", "output_norm"},
                                       {"lm_head", "output"}},
                               .block_prefix = "model.layers.",
                               .block = {{"input_layernorm", "attn_norm"},
                                         {"self_attn.q_proj", "attn_q"},
                                         {"self_attn.k_proj", "attn_k"},
                                         {"self_attn.v_proj", "attn_v"},
                                         {"self_attn.o_proj", "attn_output"},
                                         {"post_attention_layernorm", "ffn_norm"},
                                         {"mlp.gate_proj", "ffn_gate"},
                                         {"mlp.up_proj", "ffn_up"},
                                         {"mlp.down_proj", "ffn_down"}}};
  const auto found = names.find(name);
  if (!found) return std::nullopt;
  GgufTensor tensor{found->name};
  // llama.cpp rotates adjacent pairs, so q and k rows lie permuted there.
  const bool query = found->module == "attn_q";
  if (query || found->module == "attn_k") {
    tensor.undo = GgufTensor::Undo::unpermute_rope;
    tensor.heads = config.at(query ? "num_attention_heads" : "num_key_value_heads").get<int64_t>();
  }
  return tensor;
}

}  // namespace

Family llama() {
  return {.summary = "LLaMA 1-3, Mistral, SmolLM2",
          .architectures = {"LlamaForCausalLM", "MistralForCausalLM"},
          .model_types = {"llama", "mistral"},
          .gguf_architectures = {"llama"},
          .prefixes = {},
          .harmless = {"*.rotary_emb.inv_freq", "*.rotary_emb.cos_cached",
                       "*.rotary_emb.sin_cached", "rope_freqs.weight", "*.attn_rot_embd.weight"},
          .assemble = assemble,
          .config_from_gguf = config_from_gguf,
          .gguf_tensor = gguf_tensor};
}

}  // namespace halftone::spec
