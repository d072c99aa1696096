// What `halftone check` found, as a person reads it: its JSON, printed.
#pragma once

#include "halftone/base/json.h"
#include "halftone/cli/terminal.h"

namespace halftone::cli {

// `result`: what check prints under --json. Parts that it lacks are left out.
void print_check(Terminal& terminal, const Json& result);

}  // namespace halftone::cli
