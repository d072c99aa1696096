// The text of a chat template, made fit for the engine: bounded, and without the tag that only
// transformers knows.
#pragma once

#include <string>
#include <string_view>

#include "halftone/base/limits.h"

namespace halftone::text {

// Checks size, encoding and nesting, and rewrites {% generation %} ... {% endgeneration %} (marks
// of the assistant's part for training; no output of their own) to a scope, keeping the '-' and '+'
// marks. Errors: FileError naming `name`: E_LIMIT, E_UTF8, E_VALUE for a tag or comment that never
// ends, E_DEPTH for blocks or brackets nested beyond limits.template_depth.
std::string prepare_template(std::string_view source, const std::string& name,
                             const Limits& limits);

}  // namespace halftone::text
