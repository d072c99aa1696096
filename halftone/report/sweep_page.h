// What `halftone sweep` found, as one self-contained HTML page without a script, and its two
// pictures as files of their own. Same input, same bytes.
#pragma once

#include <string>

#include "halftone/base/json.h"

namespace halftone::report {

// `result` is sweep's summary.json.
std::string sweep_page(const Json& result, const Json& facts);
std::string sweep_heat_maps(const Json& result);  // duplicates, temperature x top_k, each model
std::string sweep_curves(const Json& result);     // duplicates over length

}  // namespace halftone::report
