// What a model writes, held against what its reference writes to the same prompts: does the
// quantized model still say the same? Both answer greedily, so that every difference is the
// model's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/eval/bootstrap.h"
#include "halftone/eval/text_scores.h"

namespace halftone::eval {

struct Answer {
  std::vector<int32_t> ids;  // without the token that stopped it
  std::string text;
};

// Where two answers part: the first place at which their tokens differ, or at which one of them has
// ended.
struct Parting {
  int64_t at = 0;                                // tokens that are the same
  std::optional<int32_t> reference, model = {};  // the next ones; empty: ended
  bool parted() const { return reference != model; }
};
Parting parting(std::span<const int32_t> reference, std::span<const int32_t> model);

// Intervals: 95 % by bootstrap over prompts; two at least.
struct Mean {
  double value = 0;
  std::optional<Interval> ci95;
};
struct Fidelity {
  std::vector<std::pair<TextMetric, TextScore>> scores;  // the reference's answers as references
  Mean exact;          // share of answers that are the same, token by token
  Mean common_prefix;  // tokens until they part; of the same answers all
  Mean tokens, reference_tokens;
  std::vector<Parting> partings;            // by prompt
  std::optional<double> median_parting;     // place of the first token that differs
  std::optional<int64_t> earliest() const;  // the prompt whose answers part first
};
// Answers to the same prompts, one at least.
Fidelity fidelity(std::span<const Answer> reference, std::span<const Answer> model,
                  const Context& context);

}  // namespace halftone::eval
