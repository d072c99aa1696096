// A whole task of multiple choice, of one data set: see task/piqa.cc for the shortest one.
#pragma once

#include <string>

#include "halftone/eval/items.h"
#include "halftone/eval/task.h"

namespace halftone::eval {

struct ChoiceTask {
  std::string name, summary;
  ChoiceData data;
  bool normed = true;
  std::string compared = "acc";  // Task::compared
};
Task choice_task(ChoiceTask task);

}  // namespace halftone::eval
