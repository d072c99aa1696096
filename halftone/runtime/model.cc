#include "halftone/runtime/model.h"

#include <array>

#include "halftone/base/error.h"
#include "halftone/kernel/isa.h"
#include "halftone/kernel/kernels.h"
#include "halftone/runtime/program.h"

namespace halftone::runtime {

std::string_view numerics_name(Numerics numerics) {
  switch (numerics) {
    case Numerics::exact:
      return "exact";
    case Numerics::int8:
      return "int8";
    case Numerics::tables:
      break;
  }
  return "tables";
}

Numerics numerics_from(std::string_view name) {
  for (const Numerics numerics : {Numerics::exact, Numerics::int8, Numerics::tables})
    if (numerics_name(numerics) == name) return numerics;
  throw InputError("numerics", "unknown numeric mode " + quote(name),
                   "one of: exact, int8, tables");
}

std::string_view kv_type_name(KvType type) {
  switch (type) {
    case KvType::by_numerics:
      return "by numerics";
    case KvType::f32:
      return "f32";
    case KvType::f16:
      return "f16";
    case KvType::bf16:
      return "bf16";
    case KvType::i8:
      return "int8";
    case KvType::i4:
      return "int4";
    case KvType::i2:
      break;
  }
  return "int2";
}

namespace {
constexpr std::array kKvTypes = {KvType::f32, KvType::f16, KvType::bf16,
                                 KvType::i8,  KvType::i4,  KvType::i2};
}  // namespace

std::vector<std::string> kv_type_names() {
  std::vector<std::string> names;
  for (const KvType type : kKvTypes) names.emplace_back(kv_type_name(type));
  return names;
}

KvType kv_type_from(std::string_view name) {
  std::string names;
  for (const KvType type : kKvTypes) {
    if (kv_type_name(type) == name) return type;
    names += (names.empty() ? "" : ", ") + std::string(kv_type_name(type));
  }
  throw InputError("kv", "unknown type of KV cache " + quote(name), "one of: " + names);
}

int kv_bits(KvType type) {
  return type == KvType::i8 ? 8 : type == KvType::i4 ? 4 : type == KvType::i2 ? 2 : 0;
}

Model::~Model() = default;

std::shared_ptr<const Model> Model::load(std::shared_ptr<const pack::PackedModel> packed,
                                         const LoadOptions& options, const Context& context) {
  return load(std::move(packed), options, {}, context);
}

std::shared_ptr<const Model> Model::load(std::shared_ptr<const pack::PackedModel> packed,
                                         const LoadOptions& options, const TilesInMemory& in_memory,
                                         const Context& context) {
  const int64_t block = options.activation_block;
  if (block != 0 && block != LoadOptions::kWholeRow &&
      (block < 32 || block > 256 || block % 32 != 0))
    throw InputError("activation_block",
                     "is " + std::to_string(block) + ", wanted a multiple of 32 from 32 to 256");
  if (options.numerics == Numerics::tables && block == LoadOptions::kWholeRow)
    throw InputError("activation_block",
                     "is a whole row, tables share a scale over up to 256 inputs",
                     "use 32 to 256, or mode int8");
  if (const int64_t bits = options.head_bits; bits != 0 && bits != 4 && bits != 8)
    throw InputError("head_bits",
                     "is " + std::to_string(bits) + ", wanted 8, 4, or 0 for as stored");
  std::shared_ptr<Model> model(new Model());
  model->packed_ = std::move(packed);
  model->options_ = options;
  model->kernels_ = &kernel::best_kernels();
  model->program_ = compile(*model->packed_, options, in_memory, context, model->memory_);
  return model;
}

std::shared_ptr<const Model> Model::with_kv(const Model& model, KvType kv, const Context& context) {
  const auto tiles = tiled_linears(model.program());
  LoadOptions options = model.options();
  options.kv = kv;
  options.tile_cache.clear();
  return load(
      model.packed_, options, [&](const std::string& op) { return &tiles.at(op); }, context);
}

KvType Model::kv_type() const {
  if (options_.kv != KvType::by_numerics) return options_.kv;
  return options_.numerics == Numerics::exact ? KvType::f32 : KvType::f16;
}

KvFormat Model::kv_format() const {
  const KvType closed = kv_type();
  if (kv_bits(closed) == 0) return {closed, closed};
  return {closed, options_.numerics == Numerics::exact ? KvType::f32 : KvType::f16};
}

bool Model::bidirectional() const { return !program_->bidirectional.empty(); }

std::string_view Model::isa() const { return kernels_->name; }

std::string Model::label() const {
  return packed_->checkpoint().name + " (runtime, " +
         std::string(numerics_name(options_.numerics)) +
         (options_.activation_block == LoadOptions::kWholeRow ? ", a scale a token"
          : options_.activation_block != 0
              ? ", activation block " + std::to_string(options_.activation_block)
              : "") +
         (options_.head_bits != 0 ? ", head " + std::to_string(options_.head_bits) + " bits" : "") +
         (options_.kv != KvType::by_numerics ? ", kv " + std::string(kv_type_name(options_.kv))
                                             : "") +
         ")";
}

}  // namespace halftone::runtime
