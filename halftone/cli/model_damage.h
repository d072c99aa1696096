// Where a quantized model is damaged, and what its activations look like: the measured part of
// `halftone check`, as the JSON that it and `compare` print (docs/check.md). "block" counts from 0
// and is null in front of the blocks and behind; rows of "layers" are blocks and have their names.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/json.h"
#include "halftone/eval/score.h"
#include "halftone/eval/windows.h"
#include "halftone/pack/weight_error.h"
#include "halftone/runtime/mixed_logits.h"

namespace halftone::cli {

Json json_of(const pack::Histogram& h);
Json json_of(const pack::ChannelSizes& c);
// `segment` as "block".
Json block_of(const spec::ModelSpec& spec, int64_t segment);

// "weights": a row for each of `errors`, all of `model`: {op, block, role, bits, bytes,
// relative_error}, the last null where nothing was compared or the linear cannot be read.
Json weights_of(const pack::PackedModel& model, const std::vector<pack::WeightError>& errors,
                bool compared);
// Why single linears of the one model do not fit beside those of the other, so that only whole blocks
// are exchanged; empty where they do. `weights`: of `model` against `reference`.
std::string why_only_blocks(const pack::PackedModel& reference, const pack::PackedModel& model,
                            const Json& weights);

// Where the hidden states of `model` leave those of the reference, behind each block: [{block,
// hidden_error}], the median over the tokens of `ids`, the first kStateTokens; null where it is not
// finite. Empty where the blocks of the two do not match.
inline constexpr int64_t kStateTokens = 128;
Json hidden_errors(const std::shared_ptr<const runtime::Model>& reference,
                   const std::shared_ptr<const runtime::Model>& model, std::span<const int32_t> ids,
                   const Context& context);

// Adds "diverges_above", and as "first_divergence" the first of "layers" whose error is above (null:
// none).
void add_first_divergence(Json& result);

// Adds "layers": what stands out in the hidden states behind each block, and what those of the
// quantized model are off by (null without one); and add_first_divergence.
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
  bool blocks_only = false;  // why_only_blocks
  eval::RunMemory memory = {};
};
// Adds "units", the damage of blocks, roles, tables and of the linears of the two blocks that cost
// most: {unit, kind, block, role, kl_only, kl_without, saved, bytes, bytes_8bit}; "units_measured",
// {kl_mean, protocol, windows} of the whole; and "advice", units that are worth 8 bits: the most KL
// for a byte first, none inside another. Takes about a pass over the text for each block, at most two
// for each role and linear, and three heads for each of them.
void add_units(Json& result, const DamageInput& in, const Context& context);

}  // namespace halftone::cli
