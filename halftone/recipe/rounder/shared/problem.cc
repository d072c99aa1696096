#include "halftone/recipe/rounder/shared/problem.h"

#include <atomic>
#include <cmath>
#include <vector>

#include "halftone/base/error.h"

namespace halftone::rounder {

void check_finite(const Problem& problem, ThreadPool& pool) {
  const Matrix<float>& w = *problem.weight;
  std::vector<int64_t> bad(static_cast<size_t>(w.rows), 0);
  pool.split(w.rows, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n)
      for (const float x : w.row(n)) bad[static_cast<size_t>(n)] += !std::isfinite(x);
  });
  int64_t count = 0, first = -1;
  for (int64_t n = 0; n < w.rows; ++n) {
    count += bad[static_cast<size_t>(n)];
    if (first < 0 && bad[static_cast<size_t>(n)] > 0) first = n;
  }
  if (count == 0) return;
  int64_t column = 0;
  while (std::isfinite(w.at(first, column))) ++column;
  throw NumericError(problem.name,
                     "the weight holds " + std::to_string(count) +
                         " NaN or infinite values, the first at [" + std::to_string(first) + ", " +
                         std::to_string(column) + "]",
                     "get the file again, or repair it");
}

double weighted_error(const format::Codes& codes, const Matrix<float>& w,
                      std::span<const float> importance, ThreadPool& pool) {
  std::vector<double> sums(static_cast<size_t>(w.rows), 0);
  pool.split(w.rows, [&](int64_t begin, int64_t end) {
    std::vector<float> row(static_cast<size_t>(w.cols));
    for (int64_t n = begin; n < end; ++n) {
      codes.dequantize_row(n, row);
      double sum = 0;
      for (int64_t k = 0; k < w.cols; ++k) {
        const double d =
            static_cast<double>(row[static_cast<size_t>(k)]) - static_cast<double>(w.at(n, k));
        sum += importance.empty() ? d * d
                                  : static_cast<double>(importance[static_cast<size_t>(k)]) * d * d;
      }
      sums[static_cast<size_t>(n)] = sum;
    }
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

Threads::Threads(const Context& context)
    : own_(context.pool == nullptr ? std::make_unique<ThreadPool>(context.threads) : nullptr),
      pool_(context.pool == nullptr ? own_.get() : context.pool) {}

std::set<recipe::Need> needs_of(const Entry& entry, const Json& options) {
  std::set<recipe::Need> all = entry.needs;
  if (entry.more_needs) all.merge(entry.more_needs(options));
  return all;
}

}  // namespace halftone::rounder
