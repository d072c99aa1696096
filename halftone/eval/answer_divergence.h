// Where in a text a candidate thinks otherwise than its reference: both read the reference's answers
// (teacher forcing), so that what differs is the model and not the luck of an earlier token.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/eval/fidelity.h"
#include "halftone/eval/logit_source.h"

namespace halftone::eval {

// KL(reference || candidate) in nats where each token of an answer is chosen: [answers][tokens].
// `prompts` are at least a token each, answers may be empty. Errors: InputError where vocabularies differ,
// NumericError for logits that are not finite. Progress stage "read", in tokens.
std::vector<std::vector<double>> answer_divergence(LogitSource& reference, LogitSource& candidate,
                                                   std::span<const std::vector<int32_t>> prompts,
                                                   std::span<const Answer> answers,
                                                   const Context& context);

}  // namespace halftone::eval
