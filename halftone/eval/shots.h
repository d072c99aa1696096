// Examples before the question as lm-eval 0.4 chooses them, and the text of both.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/rng.h"
#include "halftone/eval/items.h"
#include "halftone/eval/task.h"

namespace halftone::eval {

// Items before the question, and how they are chosen.
struct Shots {
  int64_t count = 0;
  std::vector<Item> pool;
  bool first = false;  // the first ones of the pool; else random.Random(1234).sample, as lm-eval
  bool drop_itself =
      false;  // the pool holds the questions, too: one more is drawn, and the question dropped
};

// The examples of each item. Items are served in order from one generator, as in lm-eval, so that a
// limit changes nothing for those before it.
class ShotPicker {
 public:
  // `shots` outlives it. InputError naming `name`, the task, when the pool is too small.
  ShotPicker(const Shots& shots, const std::string& name);
  // Members of the pool. FileError naming the item when too few of them differ from it.
  std::vector<const Item*> of(const Item& item);

 private:
  const Shots& shots_;
  PythonRandom random_;
};

// The contexts of one item: one, or with `ending` one for each choice.
std::vector<std::string> contexts_of(const TaskInput& input, const std::string& description,
                                     std::span<const Item* const> shots, const Item& item);

}  // namespace halftone::eval
