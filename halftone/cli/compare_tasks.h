// The tasks of `halftone compare --tasks`: every model answers the same items, one model in memory
// at a time, and candidates are held against the reference item by item (eval/paired.h).
//
// What a model answered stays in the cache folder (run_journal.h), by model and not by comparison:
// a killed run goes on, and a model measured once serves the next comparison with another one.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "halftone/cli/model_options.h"
#include "halftone/cli/model_text.h"
#include "halftone/cli/run_journal.h"
#include "halftone/cli/task_input.h"

namespace halftone::cli {

struct TaskOptions {
  std::vector<std::string> tasks, limits;
  int64_t shots = 0;
  bool full = false;
  std::vector<const CLI::Option*> of_tasks;  // options that mean nothing without --tasks
  std::vector<const CLI::Option*> not_full;  // what --full decides
  void declare_tasks(CLI::App& app);         // --tasks and what is said of them
  void declare(CLI::App& app);               // and --full
  // InputError where there are none but options of theirs.
  void check() const;
  // The tasks, and the windows of the text, that --full stands for. InputError for options that do
  // not go together; check().
  void settle(int64_t& windows);
};

class TaskComparison {
 public:
  // Mistakes before any work: names, limits, files, what is in them.
  TaskComparison(const TaskOptions& options, const Session& session);
  const std::vector<std::string>& inputs() const { return inputs_; }  // files

  struct Model {
    std::string name, path;
    std::function<LogitModel()> load;
  };
  // Every model on every task. `result` gets "tasks", and "models"[i]["tasks"] of candidates.
  // `journals` keep the answers of each model. Progress stage "tasks" over all models, in bytes of
  // text.
  void run(const std::vector<Model>& models, const ModelText& text, RunJournals& journals,
           Json& result);

 private:
  struct One {
    ChosenTask chosen;
    int64_t limit = 0;
    std::vector<eval::StageWork> work;  // known once the first model is there
  };
  struct Answer {
    std::string task;
    int64_t id = 0, label = 0, choice = -1;
  };
  using Answers = std::vector<std::vector<Answer>>;  // by task

  eval::TaskInput input_of(const One& one, eval::LogitSource& source, const ModelText& text,
                           const Context& context) const;
  void plan(eval::LogitSource& source, const ModelText& text, size_t models);
  Answers answers_of(const Model& model, eval::LogitSource& source, const ModelText& text,
                     eval::RunMemory memory, Json& facts);
  Json compared(const Answers& reference, const Answers& candidate) const;

  const Session& session_;
  const Table<eval::Task> table_{"task", eval::entries()};
  std::vector<One> tasks_;
  std::vector<std::string> inputs_;
  std::optional<int64_t> shots_;
  double done_ = 0, total_ = 0;
  std::optional<double> known_;  // done when the first text was read
};

// Of a result with "tasks".
void print_tasks(Terminal& terminal, const Json& result);

}  // namespace halftone::cli
