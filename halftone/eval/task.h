// Tasks: what `halftone eval --tasks a,b` can measure. One file each in eval/task/; the file name
// is the task's name.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/entries.h"
#include "halftone/base/json.h"
#include "halftone/eval/bootstrap.h"
#include "halftone/eval/logit_source.h"
#include "halftone/eval/score.h"
#include "halftone/eval/windows.h"
#include "halftone/files/datasets.h"

namespace halftone::eval {

// What a model chose on an item. `choice` by the metric acc, `choice_norm` by acc_norm; of a last
// word, whether it is the likeliest one: 1 or 0. No score: -1.
struct ItemOutcome {
  std::string_view task;  // "piqa", "mmlu_anatomy": task and id as in sample logs
  int64_t id = 0;
  int64_t label = 0, choice = -1, choice_norm = -1;
};

struct TaskInput {
  LogitSource& source;
  // Special tokens as the tokenizer adds them, once at the very start.
  std::function<std::vector<int32_t>(std::string_view text)> encode;
  files::DataPlaces places;
  int64_t limit = 0;   // windows or items; 0: all
  int64_t stride = 0;  // 0: the GPTQ protocol
  int64_t window = 0;  // 0: 2048, or the model's context where that is shorter
  std::function<void(const Json& sample)> log_sample;  // may be empty
  const Context& context;

  // Of tasks made of items.
  TextCodec codec = {};
  std::string part = {};              // of a task that has parts: the one asked for; empty: all
  std::optional<int64_t> shots = {};  // --num-fewshot; empty: none
  // Renders messages [{"role", "content"}] as a prompt that awaits the answer; empty: plain text.
  std::function<std::string(const Json& messages)> chat = {};
  RunMemory memory = {};
  std::function<void(const ItemOutcome&)> take_outcome = {};  // in the order of the items
};

// A stage of a task's progress, and its work in bytes of text that are new to the model.
struct StageWork {
  std::string stage;
  double bytes = 0;
};

struct Metric {
  std::string name;  // "perplexity", "acc"
  double value = 0;
  std::optional<Interval> ci95;               // one window or item has none
  std::optional<double> standard_error = {};  // where lm-eval gives one
};
struct TaskResult {
  std::vector<Metric> metrics;  // shown in this order
  std::string basis;            // "gptq-2048, 148 windows of wikitext2 test"
  double seconds = 0;
  Json json;  // the task's object under "results": a shape of its own, kept once published
};

struct Task {
  std::string summary;
  std::vector<std::pair<std::string, files::Split>>
      data;  // text sets it reads: looked for before any work
  std::function<TaskResult(const TaskInput& input)> run;
  // Files below the data folder, looked for likewise; of `part`, or of all.
  std::function<std::vector<std::string>(const std::string& part)> files = {};
  // Parts that can be asked for as TASK_PART ("mmlu_anatomy"); may be empty.
  std::vector<std::string> parts = {};
  // Reads the items and throws what is wrong with them, so that it is found before an hour's work.
  // Empty where `run` reads nothing that can be wrong later.
  std::function<void(const Context& context, const std::string& data_dir, const std::string& part)>
      check = {};
  bool of_items = false;  // made of items: --num-fewshot and --chat-template mean something
  // Of tasks whose items are right or wrong (take_outcome is called): the metric by which models are
  // compared, "acc" or "acc_norm", and what `run` will do, so that remaining time is known over
  // several tasks. `source` is not touched.
  std::string compared = {};
  std::function<std::vector<StageWork>(const TaskInput& input)> work = {};
};
std::span<const Named<Task>> entries();  // generated from eval/task/*.cc

// The files that the task reads. Throws FileError{missing} with the remedy when one is on no place.
std::vector<std::string> check_data(const Task& task, const files::DataPlaces& places, Env& env,
                                    const std::string& part = {});

// Perplexity of a named text set; what the perplexity tasks share. FileError{missing} with the
// remedy when the set is not here.
TaskResult text_set_perplexity(const TaskInput& input, const std::string& set, files::Split split);
// The ids of the windows that perplexity tasks score, and the protocol (compare uses the same).
struct ScoredText {
  std::string label;
  std::vector<int32_t> ids;
  int64_t blank_lines = 0;  // TextSet's
};
ScoredText scored_text(const std::string& set, files::Split split, const files::DataPlaces& places,
                       const std::function<std::vector<int32_t>(std::string_view)>& encode,
                       const Context& context);
// ", the last 1874 tokens dropped, 2 blank lines passed over"; empty where all was scored.
std::string left_out_text(const Protocol& protocol, int64_t blank_lines);

}  // namespace halftone::eval
