// Multiple choice as lm-eval 0.4 scores it: the answer whose text is most likely after the
// question.
//
//   acc       the choice with the largest log-likelihood is the right one; the first on ties
//   acc_norm  the same by log-likelihood / characters of the choice
//
// A task says how a line of its data becomes an Item (items.h); examples before the question and
// prompts (shots.h), scoring, metrics (accuracy.h) and sample logs are there once for all. What puts
// them together is choice_task.h; see task/piqa.cc for the shortest task.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halftone/eval/items.h"
#include "halftone/eval/shots.h"
#include "halftone/eval/task.h"

namespace halftone::eval {

struct ChoiceRun {
  std::string name;         // "piqa", "mmlu_anatomy": in logs, progress and memory
  std::string description;  // before everything
  std::vector<Item> items;
  Shots shots;
  bool normed = true;       // acc_norm, too
  int64_t blank_lines = 0;  // between the items, in their file
};
struct ChoiceScores {
  std::vector<double> acc, acc_norm;       // of the items that have a score; 0 or 1
  int64_t requests = 0, truncated = 0;     // of them
  std::vector<std::string> skipped_items;  // "FILE:LINE: not scored: why"
  int64_t blank_lines = 0;
  ChoiceScores& operator+=(const ChoiceScores& other);
};
ChoiceScores run_choices(const TaskInput& input, const ChoiceRun& run);

// What lm-eval sends for each item: a list of requests, in order. Public for tests.
std::vector<std::vector<Request>> choice_requests(const TaskInput& input, const ChoiceRun& run);
// What a context has in common with the one before is computed once, and counted once.
StageWork choice_work(const TaskInput& input, const ChoiceRun& run);

// What every task of items says beside its metrics: n, skipped, truncated, requests, num_fewshot,
// ...; skipped_items and blank_lines where there are any.
void report_counts(const TaskInput& input, const ChoiceScores& scores, Json& json);
// ", 3 items skipped, 2 texts truncated, 1 blank line"; empty when nothing was.
std::string counts_text(const ChoiceScores& scores);
// Names them in the log: the first ten, and how many more there are.
void warn_of_skipped(const ChoiceScores& scores, const Context& context);

}  // namespace halftone::eval
