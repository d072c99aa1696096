// Tasks as commands ask for them, and what a model's text brings to their run.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "halftone/base/entries.h"
#include "halftone/cli/model_text.h"
#include "halftone/eval/task.h"

namespace halftone::cli {

// A name of --tasks: a task, or a part of one (mmlu_anatomy).
struct ChosenTask {
  std::string name, part;
  const eval::Task* task = nullptr;
};
// InputError with the nearest name.
ChosenTask choose_task(const Table<eval::Task>& table, const std::string& name);

eval::TextCodec codec_of(const text::Tokenizer& tokenizer);
// Renders messages in the model's template, now. InputError when it has none.
std::function<std::string(const Json&)> chat_of(const ModelText& text, const std::string& model);

}  // namespace halftone::cli
