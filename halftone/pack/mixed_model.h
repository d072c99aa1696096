// A model of two: some ops with the weights of one, the others with those of another. What a
// quantized model lost is taken apart by it: one op from the quantized model and all others from
// its reference, or all but one. It is a PackedModel like any other, so what is measured are the
// real kernels.
//
//   auto mixed = mix(reference, quantized, {"model.layers.3.mlp.down_proj"});
//   auto model = runtime::Model::load(mixed, {}, context);
//
// Both are kept, and nothing is copied: a linear is read from its owner when it is asked for. An
// embedding is taken by its own name; a head tied to it is an op of its own, and no longer tied
// where the two come from different models.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "halftone/pack/packed_model.h"

namespace halftone::pack {

// InputError naming `b` and the first op that does not fit: two models that are mixed have the same
// ops, with the same inputs and widths. Where their weights lie, and which of them are quantized,
// may differ.
void check_mixable(const PackedModel& a, const PackedModel& b);

// Like `base`, but for the ops named, which are those of `other`. Errors: check_mixable; a name that
// is no op is a bug. Thread-safe. weight_bytes counts what both sides are read for.
std::shared_ptr<const PackedModel> mix(std::shared_ptr<const PackedModel> base,
                                       std::shared_ptr<const PackedModel> other,
                                       const std::set<std::string>& ops);

}  // namespace halftone::pack
