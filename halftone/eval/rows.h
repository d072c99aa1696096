// Arithmetic on one row of logits, shared by everything that scores.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "halftone/base/function_ref.h"
#include "halftone/eval/windows.h"

namespace halftone::eval {

// Rows of logits that are in memory at once: 64, fewer of a large vocabulary (16 MB at most), or one.
int64_t rows_per_chunk(int64_t vocabulary);

struct RowSum {
  double log_sum = 0;  // log sum exp(row); NaN when a logit is NaN
  float max = 0;
  int32_t argmax = 0;  // the first one on ties
};
RowSum log_sum_exp(std::span<const float> row);
// The same, and `take` gets exp(row[i] - max) piece by piece, in order: those from index `first` on.
using TakeWeights = FunctionRef<void(size_t first, std::span<const float> weights)>;
RowSum log_sum_exp(std::span<const float> row, TakeWeights take);

// The five largest of a row (all of a shorter one), the first ones on ties.
struct TopFive {
  std::array<int32_t, 5> ids{};
  size_t count = 0;
};
TopFive top_five(std::span<const float> row);
// |a and b| / |a|: the share that the top fives of two rows of one length have in common.
double overlap(const TopFive& a, const TopFive& b);

// Between softmax(p) and softmax(q), both in nats. `p_sum` and `q_sum`: log_sum_exp of the rows.
//   kl  sum p log(p / q); off by 1e-7, the rounding of f32 exponentials in both log sums, and below
//       0 by that only
//   js  (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, from 0 to log 2 (Lin 1991); that rounding
//       is of second order in it, so that 1e-10 is one
struct RowDistance {
  double kl = 0, js = 0;
};
RowDistance distance(std::span<const float> p, const RowSum& p_sum, std::span<const float> q,
                     const RowSum& q_sum);

double total_tokens(const Protocol& protocol);

}  // namespace halftone::eval
