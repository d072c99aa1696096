// BLEU (text_scores.h).
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "halftone/eval/bleu_words.h"
#include "halftone/eval/text_scores.h"

namespace halftone::eval {

// BLEU with its parts, from a row or from sums.
struct Bleu {
  double score = 0, brevity_penalty = 1;
  std::array<double, 4> precisions{};        // percent
  int64_t length = 0, reference_length = 0;  // words
};
Bleu bleu(std::span<const double> sums, bool effective_order);

TextMetric bleu_metric(Words words);

}  // namespace halftone::eval
