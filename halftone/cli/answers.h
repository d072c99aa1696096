// What a model answers to prompts.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/error.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/prompt_file.h"
#include "halftone/eval/fidelity.h"
#include "halftone/eval/score.h"

namespace halftone::cli {

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

// What `model` answers greedily, many prompts at a time, at most `tokens` tokens each; prompts that
// `memory` knows the answer to are not asked. InputError when the prompts do not fit the model. Stage
// "answer" in context.progress.
std::vector<eval::Answer> greedy_answers(const std::shared_ptr<const runtime::Model>& model,
                                         const ModelText& text,
                                         std::span<const std::vector<int32_t>> prompts,
                                         bool templated, int64_t tokens,
                                         const eval::RunMemory& memory, const Context& context);

}  // namespace halftone::cli
