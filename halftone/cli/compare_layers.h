// What compare tells of the inside of models: how far each linear is from the reference's, how far
// its channels reach, and what each block costs.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "halftone/cli/model_options.h"
#include "halftone/eval/score.h"

namespace halftone::cli {

// Adds to all rows "channel_ranges" (block, role, p1, q1, median, q3, p99, worst), to those of
// candidates "weights" and, of the runtime's models, "layers" with "first_divergence"
// (cli/model_damage.h; the latter over the first of `ids`).
// Only of models that are the reference's, rounded: others (another depth, another width) get none of
// it, with a warning. Reads every weight once, those of models that `memory` knows not at all.
//
// `memory`, here and below: what a run that was stopped has measured, by model.
void add_layers(const std::vector<LogitModel>& models, std::span<const int32_t> ids,
                std::span<const eval::RunMemory> memory, Json& rows, const Context& context);

// Adds "units", "units_measured" and "advice" as add_units of cli/model_damage.h finds them, on 2
// windows of `window` tokens of `ids`, 256 at most. Loads both models once more
// (runtime/mixed_logits.h). Rows without "weights" get none.
void add_damage(const std::vector<LogitModel>& models, std::span<const int32_t> ids, int64_t window,
                std::span<const eval::RunMemory> memory, Json& rows, const Context& context);

// summary.json of a folder that `halftone sweep` wrote. FileError where it is not one.
Json read_sweep(const std::string& folder, const Context& context);

}  // namespace halftone::cli
