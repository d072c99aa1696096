// ModelSpec: the only description of an architecture. A list of ops from a small closed set; both
// engines interpret it.
//
// Values are numbered within one Segment (prologue, a block, epilogue); value 0 is its input, the
// `out` of its last op is its output. Activations are [B, T, width]. An op reads views: a fused qkv
// projection is one linear whose output attention reads through three views, so no op exists just
// to split.
//
//   segment "model.layers.0" of LLaMA:
//      1 = norm(0)              input_layernorm
//      2 = linear(1)            q_proj
//      3 = linear(1)            k_proj
//      4 = linear(1)            v_proj
//      5 = attention(2, 3, 4)   rope inside
//      6 = linear(5)            o_proj
//      7 = add(0, 6)
//      8 = norm(7)              post_attention_layernorm
//      9 = linear(8)            gate_proj
//     10 = activation(9)
//     11 = linear(8)            up_proj
//     12 = multiply(10, 11)
//     13 = linear(12)           down_proj
//     14 = add(7, 13)
//
// Names are Hugging Face module names ("model.layers.0.self_attn.q_proj"); ops without a module get
// a made-up last part ("...mlp.act").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "halftone/base/function_ref.h"
#include "halftone/base/tensor.h"

namespace halftone::spec {

// What a linear is for, in the field's words. Parts ask for roles and never match tensor names.
enum class Role : uint8_t {
  query,
  key,
  value,
  query_key_value,
  attention_out,
  mlp_gate,
  mlp_up,
  mlp_down,
  pooler,
  head,
  classifier,
  other
};
std::string_view role_name(Role role);  // "query", as written in recipes
std::optional<Role> role_from(std::string_view name);
std::vector<std::string> role_names();

struct TensorRef {
  std::string name;         // Hugging Face tensor name
  Shape shape;              // as stored in a Hugging Face checkpoint
  bool transposed = false;  // stored [in, out] (Conv1D of GPT-2)
  bool operator==(const TensorRef&) const = default;
};

// Columns of a value. width 0: all of it. With head_stride, head h starts at offset + h *
// head_stride (GPT-NeoX interleaves q, k, v per head); without, heads lie side by side.
struct View {
  int32_t value = 0;
  int64_t offset = 0, width = 0, head_stride = 0;
  bool operator==(const View&) const = default;
};

struct Embed {
  enum class Index : uint8_t { token, position, token_type } index = Index::token;
  TensorRef table;     // [rows, width]
  double scale = 1.0;  // Gemma: sqrt(width)
  int64_t offset = 0;  // RoBERTa: positions start at 2
  bool operator==(const Embed&) const = default;
};
struct Norm {
  enum class Kind : uint8_t { rms, layer } kind = Kind::rms;
  int64_t width = 0;  // normalised slice; smaller than the value's width: each slice on its own
                      // (q_norm per head)
  double eps = 1e-5;
  std::optional<TensorRef> weight, bias;  // [width], or as wide as the value: own ones per slice
  double weight_offset = 0;               // Gemma: 1 (y = x * (1 + w))
  bool operator==(const Norm&) const = default;
};
struct Linear {
  TensorRef weight;  // meaning W [out, in]: y = x W^T + b
  std::optional<TensorRef> bias;
  int64_t in = 0, out = 0;
  Role role = Role::other;
  bool operator==(const Linear&) const = default;
};
struct Rope {
  int64_t dims = 0;                       // rotated dimensions of each head, the first ones
  std::vector<double> inverse_frequency;  // [dims / 2], scaling already applied
  bool interleaved = false;               // pairs (2i, 2i+1) instead of (i, i + dims/2)
  double magnitude = 1.0;                 // factor on cos and sin (yarn)
  bool operator==(const Rope&) const = default;
};
// softmax(scale * q k^T + bias, masked) v. Inputs: q, k, v views. The padding mask always applies.
struct Attention {
  enum class Bias : uint8_t { none, alibi } bias = Bias::none;
  int64_t heads = 0, kv_heads = 0, head_dim = 0;
  double scale = 1.0;
  bool causal = true;
  int64_t window = 0;  // 0: none; else a token sees itself and the window-1 before it
  double softcap = 0;  // 0: none; else cap * tanh(score / cap)
  std::optional<Rope> rope;
  bool operator==(const Attention&) const = default;
};
struct Activation {
  enum class Kind : uint8_t { silu, gelu_erf, gelu_tanh, relu, tanh } kind = Kind::silu;
  bool operator==(const Activation&) const = default;
};
struct Add {
  bool operator==(const Add&) const = default;
};  // two inputs
struct Multiply {
  bool operator==(const Multiply&) const = default;
};
struct Pool {  // [B, T, width] -> [B, 1, width]
  enum class Kind : uint8_t { first, last, mean } kind = Kind::first;
  bool operator==(const Pool&) const = default;
};

using OpParams = std::variant<Embed, Norm, Linear, Attention, Activation, Add, Multiply, Pool>;

struct Op {
  std::string name;
  std::vector<View> in;
  int32_t out = 0;
  OpParams params;
  bool operator==(const Op&) const = default;
};

struct Segment {
  std::string name;  // "model.layers.3"; "" for prologue and epilogue
  std::vector<Op> ops;
  int32_t values() const;  // number of values used, input included
  bool operator==(const Segment&) const = default;
};

struct ModelSpec {
  enum class Output : uint8_t { language_model, hidden_and_pooled } output = Output::language_model;
  std::string family;  // "llama": the entry that assembled it
  Segment prologue;    // value 0 = token ids (positions and token types come with the batch)
  std::vector<Segment> blocks;  // one stack; an encoder-decoder will have two
  Segment epilogue;  // value 0 = last block's output; language model: logits. hidden_and_pooled:
                     // pooled, may be empty
  int64_t vocabulary = 0, width = 0, context = 0, token_types = 0;
  bool tied_head = false;  // the head's TensorRef is the embedding's

  bool operator==(const ModelSpec&) const = default;
};

// Throws FileError{E_VALUE/E_MISMATCH} naming `path` when widths, views or names do not fit
// together.
void validate(const ModelSpec& spec, const std::string& path);

// Prologue, blocks, epilogue.
std::vector<const Segment*> segments(const ModelSpec& spec);
std::vector<Segment*> segments(ModelSpec& spec);
// The tensors that an op reads, one after the other.
void each_tensor(const Op& op, FunctionRef<void(const TensorRef&)> take);
void each_tensor(Op& op, FunctionRef<void(TensorRef&)> take);

// Every linear in execution order, with the segment it is in (index into blocks; -1 prologue,
// blocks.size() epilogue).
struct LinearRef {
  int64_t segment;
  const Op* op;
  const Linear& linear() const { return std::get<Linear>(op->params); }
};
std::vector<LinearRef> linears(const ModelSpec& spec);
const Op* find_op(const ModelSpec& spec, const std::string& name);
// Every tensor that the spec reads, each once.
std::vector<TensorRef> tensors(const ModelSpec& spec);
int64_t parameter_count(const ModelSpec& spec);
// Multiply-adds of one token through the linears of a segment (attention scores not counted).
double multiply_adds(const Segment& segment);

}  // namespace halftone::spec
