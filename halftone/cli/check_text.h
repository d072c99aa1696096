// What `halftone check` found, as a person reads it: its JSON, printed.
#pragma once

#include <string>

#include "halftone/base/json.h"
#include "halftone/cli/terminal.h"

namespace halftone::cli {

// Where hidden states part, behind each block. `row` has "layers", "first_divergence" and
// "diverges_above" (cli/model_damage.h); `whose`: "hidden states", with the model's name where there
// are several.
void print_hidden_errors(Terminal& terminal, const Json& row, const std::string& whose);

// A line for each of "advice"; nothing where there is none. `whose`: the model's name where there are
// several.
void print_advice(Terminal& terminal, const Json& advice, const std::string& whose = {});

// `result`: what check prints under --json; `receipt`: halftone.json, {} where there is none. Parts
// that are lacking are left out.
void print_check(Terminal& terminal, const Json& result, const Json& receipt);

}  // namespace halftone::cli
