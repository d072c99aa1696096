// GPT-2: learned positions, LayerNorm with bias, one fused qkv projection stored [in, out]
// (Conv1D), tied head.
#include <cmath>

#include "halftone/spec/assemble.h"
#include "halftone/spec/family.h"
#include "halftone/spec/gguf_config.h"

namespace halftone::spec {
namespace {

constexpr bool kStoredTransposed = true;

ModelSpec assemble(const Json& json, const std::string& path) {
  const files::ConfigReader config(json, path);
  const int64_t width = config.integer("n_embd", 1, kMaxWidth);
  const int64_t layers = config.integer("n_layer", 1, kMaxLayers);
  const int64_t heads = config.integer("n_head", 1, kMaxHeads);
  if (width % heads != 0)
    config.fail(
        Code::value, "n_embd",
        "is " + std::to_string(width) + ", not a multiple of " + std::to_string(heads) + " heads");
  const int64_t inner = config.integer("n_inner", 1, kMaxWidth, 4 * width);
  const double eps = config.number("layer_norm_epsilon", 0, 1, 1e-5);
  const Activation::Kind act = activation_from(config, "activation_function");
  const bool by_layer = config.boolean("scale_attn_by_inverse_layer_idx", false);
  const int64_t head_dim = width / heads;
  const double scale = config.boolean("scale_attn_weights", true)
                           ? 1.0 / std::sqrt(static_cast<double>(head_dim))
                           : 1.0;

  ModelSpec spec;
  spec.output = ModelSpec::Output::language_model;
  spec.vocabulary = config.integer("vocab_size", 1, kMaxVocabulary);
  spec.width = width;
  spec.context = config.integer("n_positions", 1, kMaxWidth, 1024);
  spec.tied_head = config.boolean("tie_word_embeddings", true);

  const TensorRef embedding{"transformer.wte.weight", {spec.vocabulary, width}};
  SegmentBuilder prologue("");
  const int32_t token = prologue.embed("transformer.wte", {.table = embedding});
  const int32_t position = prologue.embed(
      "transformer.wpe", {.index = Embed::Index::position,
                          .table = {"transformer.wpe.weight", {spec.context, width}}});
  prologue.add("transformer.embedding", token, position);
  spec.prologue = prologue.take();

  for (int64_t i = 0; i < layers; ++i) {
    const std::string block = "transformer.h." + std::to_string(i);
    Attention attention{.heads = heads, .kv_heads = heads, .head_dim = head_dim, .scale = scale};
    if (by_layer) attention.scale /= static_cast<double>(i + 1);
    SegmentBuilder b(block);
    const int32_t n1 = b.norm(block + ".ln_1", 0, layer_norm_of(block + ".ln_1", width, eps));
    const int32_t qkv = b.linear(block + ".attn.c_attn", n1,
                                 linear_of(block + ".attn.c_attn", width, 3 * width, true,
                                           Role::query_key_value, kStoredTransposed));
    const int32_t a = b.attention(block + ".attn.attention", {qkv, 0, width}, {qkv, width, width},
                                  {qkv, 2 * width, width}, attention);
    const int32_t o = b.linear(block + ".attn.c_proj", a,
                               linear_of(block + ".attn.c_proj", width, width, true,
                                         Role::attention_out, kStoredTransposed));
    const int32_t r = b.add(block + ".attention_residual", 0, o);
    const int32_t n2 = b.norm(block + ".ln_2", r, layer_norm_of(block + ".ln_2", width, eps));
    const int32_t up = b.linear(
        block + ".mlp.c_fc", n2,
        linear_of(block + ".mlp.c_fc", width, inner, true, Role::mlp_up, kStoredTransposed));
    const int32_t h = b.activation(block + ".mlp.act", up, act);
    const int32_t down = b.linear(
        block + ".mlp.c_proj", h,
        linear_of(block + ".mlp.c_proj", inner, width, true, Role::mlp_down, kStoredTransposed));
    b.add(block + ".mlp_residual", r, down);
    spec.blocks.push_back(b.take());
  }

  SegmentBuilder epilogue("");
  const int32_t norm =
      epilogue.norm("transformer.ln_f", 0, layer_norm_of("transformer.ln_f", width, eps));
  Linear head = linear_of("lm_head", width, spec.vocabulary, false, Role::head);
  if (spec.tied_head) head.weight = embedding;
  epilogue.linear("lm_head", norm, head);
  spec.epilogue = epilogue.take();
  return spec;
}

Json config_from_gguf(const files::GgufFile& file) {
  const GgufArchitecture meta(file);
  meta.refuse_experts();
  Json config;
  config["architectures"] = {"GPT2LMHeadModel"};
  config["model_type"] = "gpt2";
  config["activation_function"] = "gelu_new";
  config["n_embd"] = meta.integer("embedding_length");
  config["n_inner"] = meta.integer("feed_forward_length");
  config["n_layer"] = meta.integer("block_count");
  config["n_head"] = meta.integer("attention.head_count");
  config["n_positions"] = meta.integer("context_length");
  config["layer_norm_epsilon"] = meta.number("attention.layer_norm_epsilon");
  config["vocab_size"] = meta.vocabulary();
  config["tie_word_embeddings"] = !meta.has_tensor("output.weight");
  meta.special_ids(config);
  return config;
}

std::optional<GgufTensor> gguf_tensor(const std::string& name, const Json&) {
  static const GgufNames names{.top = {{"transformer.wte", "token_embd"},
                                       {"transformer.wpe", "position_embd"},
                                       {"transformer.ln_f", "output_norm"},
                                       {"lm_head", "output"}},
                               .block_prefix = "transformer.h.",
                               .block = {{"ln_1", "attn_norm"},
                                         {"attn.c_attn", "attn_qkv"},
                                         {"attn.c_proj", "attn_output"},
                                         {"ln_2", "ffn_norm"},
                                         {"mlp.c_fc", "ffn_up"},
                                         {"mlp.c_proj", "ffn_down"}}};
  auto found = names.find(name);
  if (!found) return std::nullopt;
  GgufTensor tensor{found->name};
  // GGUF keeps [out, in]; a Hugging Face GPT-2 keeps Conv1D's [in, out].
  if (found->in_block && name.ends_with(".weight") && name.find(".c_") != std::string::npos)
    tensor.undo = GgufTensor::Undo::transpose;
  return tensor;
}

}  // namespace

Family gpt2() {
  return {.summary = "GPT-2 and its children",
          .architectures = {"GPT2LMHeadModel", "GPT2Model"},
          .model_types = {"gpt2"},
          .gguf_architectures = {"gpt2"},
          .prefixes = {"transformer."},
          .spec_has_prefix = true,
          .harmless = {"*.attn.bias", "*.attn.masked_bias"},
          .assemble = assemble,
          .config_from_gguf = config_from_gguf,
          .gguf_tensor = gguf_tensor};
}

}  // namespace halftone::spec
