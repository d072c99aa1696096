#include "halftone/runtime/mixed_logits.h"

#include "halftone/pack/mixed_model.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/program.h"

namespace halftone::runtime {

MixedLogits::MixedLogits(std::shared_ptr<const pack::PackedModel> reference,
                         std::shared_ptr<const pack::PackedModel> quantized,
                         std::vector<std::vector<int32_t>> texts, const LoadOptions& options,
                         const Context& context)
    : options_(options), context_(context) {
  pack::check_mixable(*reference, *quantized);
  reference_ = side(std::move(reference), texts);
  quantized_ = side(std::move(quantized), texts);
}

MixedLogits::Side MixedLogits::side(std::shared_ptr<const pack::PackedModel> packed,
                                    const std::vector<std::vector<int32_t>>& texts) const {
  auto model = Model::load(packed, options_, context_);
  auto states = std::make_unique<HiddenStates>(model, texts, context_);
  auto logits = std::make_unique<ResumedLogits>(model, *states, states->cuts() - 1, context_);
  const auto tiles =
      std::make_shared<const std::map<std::string, TiledLinear>>(tiled_linears(model->program()));
  return {std::move(packed), std::move(model), std::move(states), std::move(logits),
          [tiles](const std::string& op) { return &tiles->at(op); }};
}

std::unique_ptr<eval::LogitSource> MixedLogits::mixed(const pack::Unit& unit, bool only) const {
  const Side &base = only ? reference_ : quantized_, &other = only ? quantized_ : reference_;
  const auto in_memory = [&](const std::string& op) {
    return (unit.ops.contains(op) ? other : base).tiles(op);
  };
  const auto model =
      Model::load(pack::mix(base.packed, other.packed, unit.ops), options_, in_memory, context_);
  if (unit.first_segment < 0)
    return std::make_unique<RuntimeLogits>(model, SessionOptions{}, context_);
  return std::make_unique<ResumedLogits>(model, *base.states, unit.first_segment, context_);
}

}  // namespace halftone::runtime
