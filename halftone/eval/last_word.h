// What lambada_openai and lambada_standard share: the last word of a passage is guessed.
// Paperno et al. 2016, arXiv:1606.06031.
#pragma once

#include <string>

#include "halftone/eval/task.h"

namespace halftone::eval {

// `file` below the data folder: {"text"} a line. perplexity = exp(-mean log-likelihood of the
// word), acc = share of passages whose word is the most likely one, token by token.
Task last_word(const std::string& name, const std::string& file);

}  // namespace halftone::eval
