// Penn Treebank (Mikolov), validation: perplexity.
#include "halftone/eval/task.h"

namespace halftone::eval {

Task ptb() {
  return {.summary = "perplexity on Penn Treebank (Mikolov), validation",
          .data = {{"ptb", files::Split::validation}},
          .run = [](const TaskInput& input) {
            return text_set_perplexity(input, "ptb", files::Split::validation);
          }};
}

}  // namespace halftone::eval
