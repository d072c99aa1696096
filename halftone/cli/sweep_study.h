// What `halftone sweep` does: every sample of the grid by every model, and what they have in common.
#pragma once

#include "halftone/base/json.h"
#include "halftone/cli/session.h"
#include "halftone/cli/sweep_options.h"

namespace halftone::cli {

// Fills the folder of the results: MODEL.jsonl, where it goes on with what is there, and, without
// --shard, summary.json, index.html and figures. Mistakes of options, prompts and models are found
// before any work; E_INTERRUPTED says how to go on. Returns what summary.json holds.
Json sweep_study(const Session& session, const SweepOptions& options);

// One model, one sample after the other, in this process: what sweep_study starts for speed and
// memory (one_at_a_time).
Json sweep_speed_only(const Session& session, const SweepOptions& options);

}  // namespace halftone::cli
