// The program run once more, as a process of its own: its peak memory is that of its work alone.
#pragma once

#include <string>
#include <vector>

#include "halftone/cli/session.h"

namespace halftone::cli {

// The JSON that `halftone ARGUMENTS` prints. E_INTERRUPTED when Ctrl-C reached both; else its
// failure is ours, with the command to see it by.
Json child_json(const Session& session, const std::vector<std::string>& arguments);

// What `halftone bench MODEL --json` prints: medians of `repeat` rounds of so many tokens.
struct BenchRun {
  int64_t prefill = 256, decode = 48, repeat = 3;
};
Json bench_child(const std::string& model, const BenchRun& run, const Session& session);

}  // namespace halftone::cli
