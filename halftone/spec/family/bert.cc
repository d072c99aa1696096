// BERT: post-norm encoder, bidirectional, learned positions and token types, pooler over the first
// token.
#include <cmath>

#include "halftone/spec/assemble.h"
#include "halftone/spec/family.h"
#include "halftone/spec/gguf_config.h"

namespace halftone::spec {
namespace {

ModelSpec assemble(const Json& json, const std::string& path) {
  const files::ConfigReader config(json, path);
  const int64_t width = config.integer("hidden_size", 1, kMaxWidth);
  const int64_t layers = config.integer("num_hidden_layers", 1, kMaxLayers);
  const int64_t heads = config.integer("num_attention_heads", 1, kMaxHeads);
  const int64_t inner = config.integer("intermediate_size", 1, kMaxWidth);
  if (width % heads != 0)
    config.fail(
        Code::value, "hidden_size",
        "is " + std::to_string(width) + ", not a multiple of " + std::to_string(heads) + " heads");
  const double eps = config.number("layer_norm_eps", 0, 1, 1e-12);
  const Activation::Kind act = activation_from(config, "hidden_act");
  if (const std::string positions = config.text("position_embedding_type", "absolute");
      positions != "absolute")
    config.fail(Code::value, "position_embedding_type",
                "is " + quote(positions) + ", known: absolute");

  ModelSpec spec;
  spec.output = ModelSpec::Output::hidden_and_pooled;
  spec.vocabulary = config.integer("vocab_size", 1, kMaxVocabulary);
  spec.width = width;
  spec.context = config.integer("max_position_embeddings", 1, kMaxWidth, 512);
  spec.token_types = config.integer("type_vocab_size", 0, 65536, 2);

  SegmentBuilder prologue("");
  const std::string e = "embeddings";
  int32_t x = prologue.embed(e + ".word_embeddings",
                             {.table = {e + ".word_embeddings.weight", {spec.vocabulary, width}}});
  if (spec.token_types > 0) {
    const int32_t type =
        prologue.embed(e + ".token_type_embeddings",
                       {.index = Embed::Index::token_type,
                        .table = {e + ".token_type_embeddings.weight", {spec.token_types, width}}});
    x = prologue.add(e + ".with_type", x, type);
  }
  const int32_t position =
      prologue.embed(e + ".position_embeddings",
                     {.index = Embed::Index::position,
                      .table = {e + ".position_embeddings.weight", {spec.context, width}}});
  x = prologue.add(e + ".with_position", x, position);
  prologue.norm(e + ".LayerNorm", x, layer_norm_of(e + ".LayerNorm", width, eps));
  spec.prologue = prologue.take();

  const int64_t head_dim = width / heads;
  Attention attention{.heads = heads,
                      .kv_heads = heads,
                      .head_dim = head_dim,
                      .scale = 1.0 / std::sqrt(static_cast<double>(head_dim)),
                      .causal = false};
  for (int64_t i = 0; i < layers; ++i) {
    const std::string block = "encoder.layer." + std::to_string(i);
    const std::string self = block + ".attention.self", out = block + ".attention.output";
    SegmentBuilder b(block);
    const int32_t q =
        b.linear(self + ".query", 0, linear_of(self + ".query", width, width, true, Role::query));
    const int32_t k =
        b.linear(self + ".key", 0, linear_of(self + ".key", width, width, true, Role::key));
    const int32_t v =
        b.linear(self + ".value", 0, linear_of(self + ".value", width, width, true, Role::value));
    const int32_t a = b.attention(self + ".attention", {q}, {k}, {v}, attention);
    const int32_t o = b.linear(out + ".dense", a,
                               linear_of(out + ".dense", width, width, true, Role::attention_out));
    const int32_t r1 = b.add(block + ".attention_residual", o, 0);
    const int32_t n1 =
        b.norm(out + ".LayerNorm", r1, layer_norm_of(out + ".LayerNorm", width, eps));
    const int32_t up =
        b.linear(block + ".intermediate.dense", n1,
                 linear_of(block + ".intermediate.dense", width, inner, true, Role::mlp_up));
    const int32_t h = b.activation(block + ".intermediate.act", up, act);
    const int32_t down =
        b.linear(block + ".output.dense", h,
                 linear_of(block + ".output.dense", inner, width, true, Role::mlp_down));
    const int32_t r2 = b.add(block + ".mlp_residual", down, n1);
    b.norm(block + ".output.LayerNorm", r2, layer_norm_of(block + ".output.LayerNorm", width, eps));
    spec.blocks.push_back(b.take());
  }

  // A GGUF drops the pooler; the config made from it says so.
  if (config.boolean("add_pooling_layer", true)) {
    SegmentBuilder epilogue("");
    const int32_t first = epilogue.pool("pooler.first", 0, Pool::Kind::first);
    const int32_t dense = epilogue.linear(
        "pooler.dense", first, linear_of("pooler.dense", width, width, true, Role::pooler));
    epilogue.activation("pooler.tanh", dense, Activation::Kind::tanh);
    spec.epilogue = epilogue.take();
  }
  return spec;
}

Json config_from_gguf(const files::GgufFile& file) {
  const GgufArchitecture meta(file);
  meta.refuse_experts();
  Json config;
  config["architectures"] = {"BertModel"};
  config["model_type"] = "bert";
  config["hidden_act"] = "gelu";
  config["hidden_size"] = meta.integer("embedding_length");
  config["intermediate_size"] = meta.integer("feed_forward_length");
  config["num_hidden_layers"] = meta.integer("block_count");
  config["num_attention_heads"] = meta.integer("attention.head_count");
  config["max_position_embeddings"] = meta.integer("context_length");
  config["layer_norm_eps"] = meta.number("attention.layer_norm_epsilon");
  config["vocab_size"] = meta.vocabulary();
  config["type_vocab_size"] = meta.rows("token_types.weight", 0);
  config["add_pooling_layer"] = false;
  meta.special_ids(config);
  return config;
}

std::optional<GgufTensor> gguf_tensor(const std::string& name, const Json&) {
  static const GgufNames names{.top = {{"embeddings.word_embeddings", "token_embd"},
                                       {"embeddings.position_embeddings", "position_embd"},
                                       {"embeddings.token_type_embeddings", "token_types"},
                                       {"embeddings.LayerNorm", "token_embd_norm"}},
                               .block_prefix = "encoder.layer.",
                               .block = {{"attention.self.query", "attn_q"},
                                         {"attention.self.key", "attn_k"},
                                         {"attention.self.value", "attn_v"},
                                         {"attention.output.dense", "attn_output"},
                                         {"attention.output.LayerNorm", "attn_output_norm"},
                                         {"intermediate.dense", "ffn_up"},
                                         {"output.dense", "ffn_down"},
                                         {"output.LayerNorm", "layer_output_norm"}}};
  const auto found = names.find(name);
  if (!found) return std::nullopt;
  return GgufTensor{found->name};
}

}  // namespace

Family bert() {
  return {.summary = "BERT encoders (MiniLM included)",
          .architectures = {"BertModel"},
          .model_types = {"bert"},
          .gguf_architectures = {"bert"},
          .prefixes = {"bert."},
          .harmless = {"embeddings.position_ids", "embeddings.token_type_ids", "cls.*", "pooler.*",
                       "classifier.*", "qa_outputs.*"},
          .assemble = assemble,
          .config_from_gguf = config_from_gguf,
          .gguf_tensor = gguf_tensor};
}

}  // namespace halftone::spec
