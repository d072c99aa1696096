// Multiple choice as lm-eval 0.4 scores it: the answer whose text is most likely after the
// question.
//
//   acc       the choice with the largest log-likelihood is the right one; the first on ties
//   acc_norm  the same by log-likelihood / characters of the choice
//
// A task says how a line of its data becomes an Item; prompts, examples before the question,
// scoring, metrics and sample logs are here, once for all. See task/piqa.cc for the shortest one.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "halftone/eval/task.h"
#include "halftone/files/documents.h"

namespace halftone::eval {

struct Item {
  Json doc;           // as the data has it: for sample logs, and to tell items apart
  std::string where;  // FILE:LINE
  std::string question;
  std::vector<std::string> choices;
  int64_t gold = 0;
  // Partial evaluation (WinoGrande): each choice is a context of its own, and this is scored behind
  // it.
  std::optional<std::string> ending = {};
};

// Of one file, or several.
struct Items {
  std::vector<Item> all;
  int64_t blank_lines = 0;  // passed over
};

// FileError naming the item unless 0 <= gold < choices and all that is scored has words.
void check_item(const Item& item);

struct ChoiceData {
  // Files of one split below the data folder, in the order in which `read` gets their paths.
  std::map<files::Split, std::vector<std::string>> splits;
  files::Split evaluated = files::Split::validation;
  std::function<Items(const Context& context, std::span<const std::string> paths)> read;
};

// Items before the question, and how they are chosen.
struct Shots {
  int64_t count = 0;
  std::vector<Item> pool;
  bool first = false;  // the first ones of the pool; else random.Random(1234).sample, as lm-eval
  bool drop_itself =
      false;  // the pool holds the questions, too: one more is drawn, and the question dropped
};

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

// Mean of 0/1 values with lm-eval's standard error and a bootstrap interval over items.
struct Accuracy {
  double value = 0;
  std::optional<double> standard_error;  // two items at least
  std::optional<Interval> ci95;
};
Accuracy accuracy(std::span<const double> values);
// Several sets as one: the mean weighs every item the same, the standard error is pooled over sets
// (lm-eval's pooled_sample_stderr).
class Pool {
 public:
  void add(const std::vector<double>& values);
  Accuracy value() const;
  const std::vector<double>& values() const { return values_; }

 private:
  std::vector<double> values_;
  double squares_ = 0;
  int64_t sets_ = 0;
  bool every_error_ = true;
};
// {"acc": .., "acc_stderr": .., "acc_ci95": ..} into `json`, and as a metric.
void report(const std::string& name, const Accuracy& value, Json& json,
            std::vector<Metric>& metrics);
// What every task of items says beside its metrics: n, skipped, truncated, requests, num_fewshot,
// ...; skipped_items and blank_lines where there are any.
void report_counts(const TaskInput& input, const ChoiceScores& scores, Json& json);
// ", 3 items skipped, 2 texts truncated, 1 blank line"; empty when nothing was.
std::string counts_text(const ChoiceScores& scores);
// Names them in the log: the first ten, and how many more there are.
void warn_of_skipped(const ChoiceScores& scores, const Context& context);

// A whole task of one data set.
struct ChoiceTask {
  std::string name, summary;
  ChoiceData data;
  bool normed = true;
  std::string compared = "acc";  // Task::compared
};
Task choice_task(ChoiceTask task);

// Labels of their own file (0, 1, .. a line) as the field "label" of the rows, one each.
void add_labels(const Context& context, std::vector<files::Document>& rows,
                const std::string& rows_path, const std::string& labels_path);
// The files of a split, if all are in the data folder.
std::optional<std::vector<std::string>> split_paths(const Context& context,
                                                    const std::string& data_dir,
                                                    const ChoiceData& data, files::Split split);
// All items of a split, gold checked. FileError{missing} when its files are not there.
Items read_items(const Context& context, const std::string& data_dir, const ChoiceData& data,
                 files::Split split);

}  // namespace halftone::eval
