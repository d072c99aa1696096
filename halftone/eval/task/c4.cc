// C4, validation documents joined by a space: perplexity.
#include "halftone/eval/task.h"

namespace halftone::eval {

Task c4() {
  return {.summary = "perplexity on C4, validation documents joined by a space",
          .data = {{"c4", files::Split::validation}},
          .run = [](const TaskInput& input) {
            return text_set_perplexity(input, "c4", files::Split::validation);
          }};
}

}  // namespace halftone::eval
