// LAMBADA, test, as published (lower case, tokens set apart by spaces).
#include "halftone/eval/last_word.h"

namespace halftone::eval {

Task lambada_standard() {
  return last_word("lambada_standard", "lambada/lambada_standard_test.jsonl");
}

}  // namespace halftone::eval
