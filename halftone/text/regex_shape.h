// Is a split pattern from a tokenizer.json safe to hand to a backtracking engine?
//
// The engine compiles what it can to linear-time automata and backtracks for look-around. A pattern
// is refused when its shape alone allows more than polynomial work, or memory: an unbounded
// repetition inside an unbounded repetition ((a+)+), a back-reference, a conditional, a huge
// counted repetition, deep nesting. Every pattern of the known model families passes. Whether the
// pattern is valid at all is for the engine to say.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "halftone/base/limits.h"

namespace halftone::text {

// The reason to refuse `pattern`, or nothing.
std::optional<std::string> regex_danger(std::string_view pattern, const Limits& limits);

}  // namespace halftone::text
