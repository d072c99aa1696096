#include "halftone/eval/choice_task.h"

#include <chrono>

#include "halftone/eval/accuracy.h"
#include "halftone/eval/choice.h"

namespace halftone::eval {
namespace {

// lm-eval takes the training part, else the validation part, else the test part.
Shots shots_of(const TaskInput& input, const ChoiceTask& task, const std::vector<Item>& evaluated) {
  Shots shots{.count = input.shots.value_or(0)};
  if (shots.count == 0) return shots;
  // Its yaml names a test part for the others.
  shots.drop_itself = task.data.evaluated == files::Split::validation;
  for (const files::Split split :
       {files::Split::train, files::Split::validation, files::Split::test}) {
    if (!split_paths(input.context, input.places.data_dir, task.data, split)) continue;
    shots.pool = split == task.data.evaluated
                     ? evaluated
                     : read_items(input.context, input.places.data_dir, task.data, split).all;
    if (split != files::Split::train)
      input.context.warn(task.name + ": examples come from the " +
                         std::string(files::split_name(split)) +
                         " part, as in lm-eval without a training part (there is no " +
                         task.data.splits.at(files::Split::train)[0] + ")");
    return shots;
  }
  return shots;
}

ChoiceRun run_of(const TaskInput& input, const ChoiceTask& task) {
  Items items = read_items(input.context, input.places.data_dir, task.data, task.data.evaluated);
  ChoiceRun run{.name = task.name, .items = std::move(items.all), .blank_lines = items.blank_lines};
  run.normed = task.normed;
  run.shots = shots_of(input, task, run.items);
  if (input.limit > 0 && std::ssize(run.items) > input.limit)
    run.items.erase(run.items.begin() + input.limit, run.items.end());
  return run;
}

TaskResult run_task(const TaskInput& input, const ChoiceTask& task) {
  const auto start = std::chrono::steady_clock::now();
  const ChoiceRun run = run_of(input, task);
  const ChoiceScores scores = run_choices(input, run);
  const std::string label = task.name + " " + std::string(files::split_name(task.data.evaluated));
  TaskResult out;
  out.json = Json::object();
  report("acc", accuracy(scores.acc), out.json, out.metrics);
  if (task.normed) report("acc_norm", accuracy(scores.acc_norm), out.json, out.metrics);
  report_counts(input, scores, out.json);
  out.basis = std::to_string(input.shots.value_or(0)) + "-shot, " +
              std::to_string(scores.acc.size()) + " items of " + label + counts_text(scores);
  out.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  out.json["seconds"] = out.seconds;
  out.json["protocol"] = "lm-eval-0.4";
  out.json["data"] = label;
  return out;
}

}  // namespace

Task choice_task(ChoiceTask task) {
  Task out;
  out.summary = task.summary;
  out.files = [files = task.data.splits.at(task.data.evaluated)](const std::string&) {
    return files;
  };
  out.of_items = true;
  out.compared = task.compared;
  out.work = [task](const TaskInput& input) {
    return std::vector{choice_work(input, run_of(input, task))};
  };
  out.check = [data = task.data](const Context& context, const std::string& data_dir,
                                 const std::string&) {
    read_items(context, data_dir, data, data.evaluated);
  };
  out.run = [task = std::move(task)](const TaskInput& input) { return run_task(input, task); };
  return out;
}

}  // namespace halftone::eval
