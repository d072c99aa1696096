// A sweep's result for the terminal.
#pragma once

#include "halftone/base/json.h"
#include "halftone/cli/terminal.h"

namespace halftone::cli {

// A row a model, a line on what is equal in each, and the table of simulated quantization where there
// is one.
void print_sweep(Terminal& terminal, const Json& result);
// Of --speed-only: a row a sample.
void print_speed(Terminal& terminal, const Json& result);

}  // namespace halftone::cli
