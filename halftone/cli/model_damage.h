// Where a quantized model is damaged, and what its activations look like: the measured part of
// `halftone check`, as the JSON that it prints (docs/check.md).
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "halftone/base/context.h"
#include "halftone/base/json.h"
#include "halftone/eval/score.h"
#include "halftone/eval/windows.h"
#include "halftone/pack/weight_error.h"
#include "halftone/runtime/mixed_logits.h"

namespace halftone::cli {

Json json_of(const pack::Histogram& h);
Json json_of(const pack::ChannelSizes& c);

// Adds "layers": what stands out in the hidden states behind each block, and what those of the
// quantized model are off by (null without one); "first_divergence" (null: none), "diverges_above".
void add_layers(Json& result, const runtime::HiddenStates& states,
                const runtime::HiddenStates* quantized, const spec::ModelSpec& spec);

// Adds "inputs": what the linears read, a row for all that read the same.
void add_inputs(Json& result, const std::shared_ptr<const runtime::Model>& model,
                const runtime::HiddenStates& states, const Context& context);

struct DamageInput {
  const pack::PackedModel& model;
  const pack::PackedModel& reference;
  runtime::MixedLogits& mixed;  // of the two, over the windows of `ids`
  std::span<const int32_t> ids;
  const eval::Protocol& protocol;
  double whole_kl = 0;       // of the quantized model
  bool blocks_only = false;  // single linears of the one do not fit beside those of the other
  eval::RunMemory memory = {};
};
// Adds "units", the damage of blocks, roles, tables and of the linears of the two blocks that cost
// most; and "advice", units that are worth 8 bits: the most KL for a byte first, none inside another.
void add_units(Json& result, const DamageInput& in, const Context& context);

}  // namespace halftone::cli
