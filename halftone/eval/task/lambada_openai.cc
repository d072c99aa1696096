// LAMBADA, test, in OpenAI's preparation (text as written).
#include "halftone/eval/last_word.h"

namespace halftone::eval {

Task lambada_openai() { return last_word("lambada_openai", "lambada/lambada_openai_test.jsonl"); }

}  // namespace halftone::eval
