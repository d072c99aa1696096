// One self-contained HTML page out of what `halftone compare` measured. No script, no network: a
// table and a chart as SVG, readable in a mail preview, on a phone, in print, and by grep. Same
// input, same bytes.
#pragma once

#include <string>
#include <vector>

#include "halftone/base/json.h"

namespace halftone::report {

// Command, version, CPU, kernels, compiler: what every printed figure must name.
Json measurement_facts(const std::vector<std::string>& argv);

// `result` is compare's JSON ("models", "reference", "protocol", "windows", "data", "mode",
// "simulated", "threads", "isa"; "prompts" where models answered some).
std::string comparison_page(const Json& result, const Json& facts);

// The ladder of words for a share of same first choices (lower end of its interval): "nearly
// identical", "close", "noticeable", "strong change", "broken"; so that two people say the same
// word for the same figure.
std::string_view closeness(double same_top_low);

std::string escape_html(std::string_view text);

}  // namespace halftone::report
