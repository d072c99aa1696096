// WikiText-2 raw, test: perplexity.
#include "halftone/eval/task.h"

namespace halftone::eval {

Task wikitext2() {
  return {.summary = "perplexity on WikiText-2 raw, test",
          .data = {{"wikitext2", files::Split::test}},
          .run = [](const TaskInput& input) {
            return text_set_perplexity(input, "wikitext2", files::Split::test);
          }};
}

}  // namespace halftone::eval
