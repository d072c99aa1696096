// One self-contained HTML page out of what `halftone compare` measured. Everything it claims is a
// table written here, readable without scripts, in a mail preview and by grep; the embedded script
// (web/) draws charts over the tables. No network: the page's policy forbids it. Same input, same
// bytes.
#pragma once

#include <string>
#include <vector>

#include "halftone/base/json.h"
#include "halftone/report/html.h"

namespace halftone::report {

// Command, version, CPU, kernels, compiler: what every printed figure must name.
Json measurement_facts(const std::vector<std::string>& argv);

// `result` is compare's JSON ("models", "reference", "protocol", "windows", "data", "mode",
// "simulated", "threads", "isa"; and where they were measured "noise_floor", "prompts", "sweep" and of
// each model "tasks", "weights", "units" with "units_measured" and "advice", "channel_ranges",
// "fidelity", "answers", "recipe", "energy"). What is not there has no section. The page holds `result`
// with `facts` as JSON (the study, errors of weights and shares of the KL rounded to four digits).
std::string comparison_page(const Json& result, const Json& facts);

// The ladder of words for a share of same first choices (lower end of its interval): "nearly
// identical", "close", "noticeable", "strong change", "broken"; so that two people say the same
// word for the same figure.
std::string_view closeness(double same_top_low);
// What a share of same first choices means, as a rate that people can picture: "1 token in 27 gets
// another first choice", "98 of 100 tokens get another first choice".
std::string first_choices(double same_top);

}  // namespace halftone::report
