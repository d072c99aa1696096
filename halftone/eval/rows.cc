#include "halftone/eval/rows.h"

#include <cmath>

namespace halftone::eval {

RowSum log_sum_exp(std::span<const float> row) {
  RowSum out;
  out.max = row[0];
  for (size_t i = 1; i < row.size(); ++i) {
    if (row[i] > out.max) {
      out.max = row[i];
      out.argmax = static_cast<int32_t>(i);
    }
  }
  // Eight sums in a fixed order: exact enough in f64 and independent of how the caller splits rows
  // over threads.
  double sums[8] = {};
  size_t i = 0;
  for (; i + 8 <= row.size(); i += 8)
    for (size_t k = 0; k < 8; ++k) sums[k] += static_cast<double>(std::exp(row[i + k] - out.max));
  for (; i < row.size(); ++i) sums[0] += static_cast<double>(std::exp(row[i] - out.max));
  double sum = 0;
  for (double s : sums) sum += s;
  out.log_sum = static_cast<double>(out.max) + std::log(sum);
  return out;
}

double total_tokens(const Protocol& protocol) {
  double total = 0;
  for (const Window& window : protocol.windows)
    total += static_cast<double>(window.end - window.begin);
  return total;
}

}  // namespace halftone::eval
