// A file of prompts, and what a model answers to all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/error.h"
#include "halftone/base/json.h"
#include "halftone/cli/model_text.h"
#include "halftone/eval/fidelity.h"

namespace halftone::cli {

struct Prompt {
  int64_t line = 0;
  std::string text;
  Json id;  // of a JSONL line that has one
};

struct Prompts {
  std::vector<Prompt> all;
  int64_t skipped = 0;  // empty lines
};

// Lines of the file; a file whose first line begins with { is JSONL with "prompt". Empty lines are
// skipped, counted and said. FileError naming the line for what is no prompt.
Prompts read_prompts(const std::string& path, const Context& context);

// An error about a prompt names its line.
template <class F>
void naming_line(const std::string& path, const Prompt& prompt, const F& f) {
  try {
    f();
  } catch (Error& e) {
    e.note(path + " line " + std::to_string(prompt.line));
    throw;
  }
}

// Ids as the model reads them: in its chat template when `templated`, else as they are.
std::vector<int32_t> encode_prompt(const ModelText& text, const std::string& prompt,
                                   bool templated);
// The text of an answer. Without a template it goes on where the prompt ends.
std::string answer_text(const ModelText& text, std::span<const int32_t> prompt,
                        std::span<const int32_t> answer, bool templated);

// What `model` answers greedily, many prompts at a time, at most `tokens` tokens each. InputError
// when the prompts do not fit the model. Stage "answer" in context.progress.
std::vector<eval::Answer> greedy_answers(const std::shared_ptr<const runtime::Model>& model,
                                         const ModelText& text,
                                         std::span<const std::vector<int32_t>> prompts,
                                         bool templated, int64_t tokens, const Context& context);

}  // namespace halftone::cli
