// JSON as the project uses it: ordered objects, and one reader that refuses what nlohmann accepts
// silently.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "halftone/base/limits.h"

// Made once, in json.cc: else each file that uses JSON compiles all of it, a quarter of its time.
extern template class nlohmann::basic_json<nlohmann::ordered_map>;

namespace halftone {

using Json = nlohmann::ordered_json;

// Parses one JSON value that fills `text`. Refuses, as FileError naming `path`: bad UTF-8 (E_UTF8),
// nesting beyond limits.json_depth (E_DEPTH), a key twice in one object (E_DUP), anything else that
// is not JSON, NaN and 1e999 included (E_JSON).
Json parse_json(std::string_view text, const std::string& path, const Limits& limits = {});

// Sorted keys, no spaces, numbers in shortest round-trip form: equal values give equal bytes.
std::string canonical(const Json& value);

}  // namespace halftone
