// The answers of `halftone compare --prompts`: every model writes, and what candidates write is held
// against what the reference wrote (eval/fidelity.h).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/prompt_file.h"
#include "halftone/eval/score.h"

namespace halftone::cli {

struct AnswerOptions {
  std::string prompts;
  int64_t tokens = 64;
  bool no_template = false;
  std::vector<const CLI::Option*> of_prompts;  // options that mean nothing without --prompts
  void declare(CLI::App& app);
  // InputError for options that do not go together.
  void check(const LogitOptions& logits) const;
};

// Prompts are cut and framed as the reference does it.
class Answers {
 public:
  Answers(const AnswerOptions& options, const Context& context);
  // Before the first answer, so that a prompt that does not fit is found early.
  void encode(const pack::PackedModel& reference, int64_t shortest_context);
  Json facts() const;
  // Candidates' rows get "fidelity" and "answers". `memory`: answers of a run that was stopped, by
  // model.
  void run(const std::vector<LogitModel>& models, std::span<const eval::RunMemory> memory,
           Json& rows) const;

 private:
  const AnswerOptions& options_;
  const Context& context_;
  PromptFile prompts_;
  std::optional<ModelText> text_;
  std::vector<std::vector<int32_t>> ids_;
  bool templated_ = false;
};

// Of a result with "prompts".
void print_answers(Terminal& terminal, const Json& result);

}  // namespace halftone::cli
