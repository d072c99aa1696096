// A model ready to run: ModelSpec and PackedModel, compiled once into a short program over weights
// tiled for this CPU. Links neither torch nor BLAS nor Rust; token ids in, logits out.
//
//   auto packed = pack::open_model("smollm2-gptq4", context);
//   auto model = runtime::Model::load(packed, {.numerics = runtime::Numerics::int8}, context);
//   runtime::Session session(model, {}, context);           // session.h: KV cache, position
//
// Numerics:
//   exact  low-bit weights are dequantized on the fly, activations are float: the meaning of a
//          weight-only method. KV cache f32, so that text equals that of any float32 engine.
//   int8   activations of low-bit linears are quantized to int8 by blocks: faster. KV cache f16.
//   tables as int8, but weights of 2 bits take what each pair of activations adds for their codes
//          from tables of int8 (kernel/matmul.h): faster still, and a little less accurate.
// Dense weights (f32, f16, bf16 as stored) take float activations in all. Every result is the same
// at any thread count, on every instruction set, and whether tokens are fed one by one or together
// (kernel/matmul.h says why).
//
// A loaded Model is read-only and safe from many threads. Loading reads tensor by tensor: the peak
// is the tiled weights and one tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/pack/packed_model.h"

namespace halftone::kernel {
struct Kernels;
}

namespace halftone::runtime {

enum class Numerics : uint8_t { exact, int8, tables };
std::string_view numerics_name(Numerics numerics);  // "exact", "int8", "tables"
Numerics numerics_from(std::string_view name);      // InputError naming them
// i8, i4, i2: codes for blocks of 256 tokens that lie behind; the newest block is in floats, f32 in
// mode exact and f16 otherwise (kv_cache.h).
// bf16: queries and probabilities are rounded to bf16 too (attention.h).
enum class KvType : uint8_t { by_numerics, f32, f16, bf16, i8, i4, i2 };
std::string_view kv_type_name(KvType type);
std::vector<std::string> kv_type_names();    // f32, f16, bf16, int8, int4, int2
KvType kv_type_from(std::string_view name);  // InputError naming them
int kv_bits(KvType type);                    // of a code; 0: floats

// How a block of keys and values is kept once it is full, and before. Equal where that is in floats.
struct KvFormat {
  KvType closed = KvType::f32, open = KvType::f32;
  bool operator==(const KvFormat&) const = default;
};

struct LoadOptions {
  Numerics numerics = Numerics::exact;
  KvType kv = KvType::by_numerics;
  // int8: inputs sharing a scale, 32 to 256, or kWholeRow; 0: 64, and 32 for mlp_down and weights
  // other than of 4 bits. Tables: up to 256, 0: 64. From 128 on, the scales of groups of 32 of
  // symmetric weights of up to 4 bits are kept in two levels (kernel/tiles.h).
  int64_t activation_block = 0;
  static constexpr int64_t kWholeRow = -1;
  // 8 or 4: a head stored in floats, and with it an embedding tied to it, is rounded to that many
  // bits, 32 weights to a scale, as it is loaded: in a small model it is most of what a token
  // reads.
  // 0: as stored.
  int64_t head_bits = 0;
  // A folder that keeps the tiled weights, mapped at the next load (tile_cache.h); empty: none.
  std::string tile_cache;
};

struct MemoryUse {
  uint64_t weights = 0;  // tiled linears, a tied embedding among them, norms and biases
  uint64_t tables = 0;   // embeddings held in memory
  uint64_t mapped = 0;   // embeddings read row by row from the mapped file
};

struct Program;      // program.h
struct TiledLinear;  // program.h
// Linears that other models of the same load options have in memory, by the op's name; null where
// there is none.
using TilesInMemory = std::function<const TiledLinear*(const std::string& op)>;

class Model {
 public:
  static std::shared_ptr<const Model> load(std::shared_ptr<const pack::PackedModel> packed,
                                           const LoadOptions& options, const Context& context);
  // The same, but linears that are in memory are shared instead of being read and tiled again.
  static std::shared_ptr<const Model> load(std::shared_ptr<const pack::PackedModel> packed,
                                           const LoadOptions& options,
                                           const TilesInMemory& in_memory, const Context& context);
  // The same weights, keys and values kept as `kv` says: shares the tiles of `model`, so it takes
  // neither memory for linears nor time to load. Nothing can be wrong that load() had not refused.
  static std::shared_ptr<const Model> with_kv(const Model& model, KvType kv,
                                              const Context& context);
  ~Model();

  const spec::ModelSpec& spec() const { return packed_->checkpoint().spec; }
  const pack::PackedModel& packed() const { return *packed_; }
  const LoadOptions& options() const { return options_; }
  KvType kv_type() const;  // never by_numerics
  KvFormat kv_format() const;
  bool quantized() const { return !packed_->plan().ports.empty(); }
  bool bidirectional() const;  // an encoder: Session::encode only
  int64_t vocabulary() const { return spec().vocabulary; }
  int64_t context_length() const { return spec().context; }
  const MemoryUse& memory() const { return memory_; }
  std::string_view isa() const;  // "avx2": the kernels that run
  std::string label() const;     // "smollm2-gptq4 (runtime, exact)"

  const Program& program() const { return *program_; }
  const kernel::Kernels& kernels() const { return *kernels_; }

 private:
  Model() = default;
  std::shared_ptr<const pack::PackedModel> packed_;
  LoadOptions options_;
  const kernel::Kernels* kernels_ = nullptr;
  std::unique_ptr<Program> program_;
  MemoryUse memory_;
};

}  // namespace halftone::runtime
