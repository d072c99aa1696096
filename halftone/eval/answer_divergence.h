// Where in a text a candidate thinks otherwise than its reference: both read the reference's answers
// (teacher forcing), so that what differs is the model and not the luck of an earlier token.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/eval/fidelity.h"
#include "halftone/eval/logit_source.h"

namespace halftone::eval {

struct Likely {
  int32_t id = 0;
  double probability = 0;
};
struct AnswerDivergence {
  std::vector<double>
      kl;  // (reference || candidate), nats, where each token of the answer is chosen
  std::vector<Likely> reference_top, candidate_top;  // where it was asked for: the five likeliest
};

// A row an answer. `ask_at`, of each answer: the place (0: the first token; its size: what follows it) whose
// likeliest tokens are wanted, or none. `prompts` are at least a token each, answers may be empty. Errors:
// InputError where vocabularies differ, NumericError for logits that are not finite. Progress stage
// "read", in tokens.
std::vector<AnswerDivergence> answer_divergence(LogitSource& reference, LogitSource& candidate,
                                                std::span<const std::vector<int32_t>> prompts,
                                                std::span<const Answer> answers,
                                                std::span<const std::optional<int64_t>> ask_at,
                                                const Context& context);

}  // namespace halftone::eval
