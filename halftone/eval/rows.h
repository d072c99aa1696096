// Arithmetic on one row of logits, shared by everything that scores.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "halftone/base/function_ref.h"
#include "halftone/eval/windows.h"

namespace halftone::eval {

constexpr int64_t kRowsPerChunk = 64;

struct RowSum {
  double log_sum = 0;  // log sum exp(row); NaN when a logit is NaN
  float max = 0;
  int32_t argmax = 0;  // the first one on ties
};
RowSum log_sum_exp(std::span<const float> row);
// The same, and `take` gets exp(row[i] - max) piece by piece, in order: those from index `first` on.
using TakeWeights = FunctionRef<void(size_t first, std::span<const float> weights)>;
RowSum log_sum_exp(std::span<const float> row, TakeWeights take);

double total_tokens(const Protocol& protocol);

}  // namespace halftone::eval
