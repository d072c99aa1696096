// Logits of models mixed of a reference and a quantized one, for a few texts: eval/damage.h asks
// for them, unit by unit.
//
// Both models are in memory, have run once over the texts and keep their hidden states
// (hidden_states.h). A mixed model shares their tiles, so it takes neither time to load nor memory,
// and starts at the first block that holds an op of the other model: what comes before has the
// hidden states of the one or the other. A unit of block b of B costs (B - b) / B of a pass; a role
// starts at block 0.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "halftone/pack/units.h"
#include "halftone/runtime/hidden_states.h"

namespace halftone::runtime {

class MixedLogits {
 public:
  // Errors: pack::check_mixable. `options` are those of every model that is loaded.
  MixedLogits(std::shared_ptr<const pack::PackedModel> reference,
              std::shared_ptr<const pack::PackedModel> quantized,
              std::vector<std::vector<int32_t>> texts, const LoadOptions& options,
              const Context& context);

  eval::LogitSource& reference() { return *reference_.logits; }
  eval::LogitSource& quantized() { return *quantized_.logits; }
  // What enters each block, and leaves the last.
  const HiddenStates& reference_states() const { return *reference_.states; }
  const HiddenStates& quantized_states() const { return *quantized_.states; }
  const std::shared_ptr<const Model>& reference_model() const { return reference_.model; }
  // The unit from the quantized model and all else from the reference (`only`), or all but it.
  std::unique_ptr<eval::LogitSource> mixed(const pack::Unit& unit, bool only) const;

 private:
  struct Side {
    std::shared_ptr<const pack::PackedModel> packed;
    std::shared_ptr<const Model> model;
    std::unique_ptr<HiddenStates> states;
    std::unique_ptr<eval::LogitSource> logits;
    TilesInMemory tiles;
  };
  Side side(std::shared_ptr<const pack::PackedModel> packed,
            const std::vector<std::vector<int32_t>>& texts) const;
  LoadOptions options_;
  Context context_;
  Side reference_, quantized_;
};

}  // namespace halftone::runtime
