// What arc_easy and arc_challenge share. Clark et al. 2018, arXiv:1803.05457.
#pragma once

#include <string>

#include "halftone/eval/task.h"

namespace halftone::eval {

// `set`: "ARC-Easy". Files arc/SET-Test.jsonl, -Dev, -Train: the original layout {"question":
// {"stem", "choices": [{"text", "label"}]}, "answerKey"}, or the hub's {"question", "choices":
// {"text", "label"}, "answerKey"}.
Task arc(const std::string& name, const std::string& set, const std::string& compared);

}  // namespace halftone::eval
