// What every rounder does first and last: checks its input, finds threads, measures.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "halftone/base/context.h"
#include "halftone/base/threads.h"
#include "halftone/recipe/rounder.h"

namespace halftone::rounder {

// NumericError naming the problem when a weight is NaN or infinite: count and first place.
void check_finite(const Problem& problem, ThreadPool& pool);

// sum over columns of importance[k] * ||Q_k - W_k||^2 (importance empty: 1). Rows are summed in
// order: the same bits at any thread count.
double weighted_error(const format::Codes& codes, const Matrix<float>& w,
                      std::span<const float> importance, ThreadPool& pool);

// The context's pool, or one of its own where a test or an embedding program gave none.
class Threads {
 public:
  explicit Threads(const Context& context);
  ThreadPool& pool() { return *pool_; }

 private:
  std::unique_ptr<ThreadPool> own_;
  ThreadPool* pool_;
};

}  // namespace halftone::rounder
