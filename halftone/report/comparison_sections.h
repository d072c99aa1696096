// The sections of the comparison's page, each the HTML of one part of compare's JSON; empty where
// there is nothing to show. Tables are here, charts are drawn over them by web/src/.
#pragma once

#include <string>

#include "halftone/base/json.h"

namespace halftone::report {

std::string tasks_section(const Json& result);    // models[i].tasks
std::string layers_section(const Json& result);   // models[i].weights, .units, .advice
std::string ranges_section(const Json& result);   // models[i].channel_ranges
std::string answers_section(const Json& result);  // models[i].fidelity, models[i].answers
std::string sweep_section(const Json& result);    // sweep
std::string recipes_section(const Json& result);  // models[i].recipe

// "/models/2/" + key.
std::string model_path(size_t model, const std::string& key);
std::string model_name(const Json& result, size_t model);  // escaped
// Does a model that is compared have anything under `key`?
bool any_model_has(const Json& result, const char* key);

}  // namespace halftone::report
