// YAML text -> Json, bounded. Recipes are small, so the bounds are too: 1 MiB of text, 32 levels,
// 20,000 values (aliases expanded).
//
// Plain scalars follow YAML 1.2's core schema without its oddities: null ~ true false, decimal
// integers, finite decimal numbers; all else is text ("yes", "0x10" and ".inf" are text). Errors:
// InputError naming the file, line and column.
#pragma once

#include <string>
#include <string_view>

#include "halftone/base/json.h"

namespace halftone::recipe {

Json parse_yaml(std::string_view text, const std::string& path);

}  // namespace halftone::recipe
