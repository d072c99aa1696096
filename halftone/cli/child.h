// The program run once more, as a process of its own: its peak memory is that of its work alone.
#pragma once

#include <string>
#include <vector>

#include "halftone/cli/session.h"

namespace halftone::cli {

// The JSON that `halftone ARGUMENTS` prints. E_INTERRUPTED when Ctrl-C reached both; else its
// failure is ours, with the command to see it by.
Json child_json(const Session& session, const std::vector<std::string>& arguments);

}  // namespace halftone::cli
