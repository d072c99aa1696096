// A file of prompts, as `generate` and `sweep` take it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/json.h"

namespace halftone::cli {

struct Prompt {
  int64_t line = 0;
  std::string text;
  Json id;  // of a JSONL line that has one
};

struct PromptFile {
  std::string path;
  std::vector<Prompt> prompts;
  int64_t empty_lines = 0;                 // skipped
  std::string where(size_t prompt) const;  // "prompts.txt: line 3"
  void say_skipped(const Context& context) const;
};

// One prompt a line; a file whose first line begins with { is JSONL with "prompt" (and "id").
// FileError naming file and line for a line that is not UTF-8, is no JSON or has no "prompt", and
// for a file without prompts.
PromptFile read_prompts(const std::string& path, const Context& context);

}  // namespace halftone::cli
