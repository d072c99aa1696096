// Arithmetic on one row of logits, shared by everything that scores.
#pragma once

#include <cstdint>
#include <span>

#include "halftone/eval/windows.h"

namespace halftone::eval {

constexpr int64_t kRowsPerChunk = 64;

struct RowSum {
  double log_sum = 0;  // log sum exp(row); NaN when a logit is NaN
  float max = 0;
  int32_t argmax = 0;  // the first one on ties
};
RowSum log_sum_exp(std::span<const float> row);

double total_tokens(const Protocol& protocol);

}  // namespace halftone::eval
