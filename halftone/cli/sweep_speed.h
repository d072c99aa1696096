// Speed and memory of the models of a sweep: some of its samples once more, one at a time, by
// `halftone sweep --speed-only` in a process of its own for each model.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/json.h"
#include "halftone/cli/session.h"
#include "halftone/cli/sweep_options.h"
#include "halftone/cli/sweep_writer.h"
#include "halftone/eval/sweep.h"

namespace halftone::cli {

// `samples` at most. Evenly over the grid, so that every length, temperature and top_k has its turn.
std::vector<int64_t> speed_points(const eval::SweepGrid& grid, int64_t samples);

// What that process prints: {samples: [{index, text, tokens, seconds, tok_s}], peak_rss_bytes,
// load_ms}.
Json one_at_a_time(const SweepWriter& writer, std::span<const int64_t> points,
                   const Context& context);

// Starts it for `model`, whose samples are in `file`, and writes "peak_rss_bytes", "load_ms" and
// "one_at_a_time" {samples, min_tok_s, mean_tok_s, max_tok_s, batched_times} into its `row`, which
// has "batched". The last stays as it is where no sample has a token. Errors: child_json's.
void measure_speed(const std::string& model, const SweepOptions& options,
                   const eval::SweepFile& file, const Session& session, Json& row);

}  // namespace halftone::cli
