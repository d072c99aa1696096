#include "halftone/runtime/model.h"

#include "halftone/base/error.h"
#include "halftone/kernel/isa.h"
#include "halftone/runtime/program.h"

namespace halftone::runtime {

std::string_view numerics_name(Numerics numerics) {
  return numerics == Numerics::exact ? "exact" : "int8";
}

Numerics numerics_from(std::string_view name) {
  if (name == "exact") return Numerics::exact;
  if (name == "int8") return Numerics::int8;
  throw InputError("numerics", "unknown numeric mode " + quote(name), "one of: exact, int8");
}

Model::~Model() = default;

std::shared_ptr<const Model> Model::load(std::shared_ptr<const pack::PackedModel> packed,
                                         const LoadOptions& options, const Context& context) {
  const int64_t block = options.activation_block;
  if (block != 0 && (block < 32 || block > 256 || block % 32 != 0))
    throw InputError("activation_block",
                     "is " + std::to_string(block) + ", wanted a multiple of 32 from 32 to 256");
  if (const int64_t bits = options.head_bits; bits != 0 && bits != 4 && bits != 8)
    throw InputError("head_bits",
                     "is " + std::to_string(bits) + ", wanted 8, 4, or 0 for as stored");
  std::shared_ptr<Model> model(new Model());
  model->packed_ = std::move(packed);
  model->options_ = options;
  model->kernels_ = &kernel::best_kernels();
  model->program_ = compile(*model->packed_, options, context, model->memory_);
  return model;
}

KvType Model::kv_type() const {
  if (options_.kv != KvType::by_numerics) return options_.kv;
  return options_.numerics == Numerics::exact ? KvType::f32 : KvType::f16;
}

bool Model::bidirectional() const { return !program_->bidirectional.empty(); }

std::string_view Model::isa() const { return kernels_->name; }

std::string Model::label() const {
  return packed_->checkpoint().name + " (runtime, " +
         std::string(numerics_name(options_.numerics)) + ")";
}

}  // namespace halftone::runtime
