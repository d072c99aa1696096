// What is kept of the inputs of one value while samples pass by: a Hessian, ranges, means, each
// only when declared.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "halftone/base/threads.h"
#include "halftone/recipe/block_engine.h"
#include "halftone/spec/model_spec.h"

namespace halftone::calib {

// Linears that read the same value (q, k and v; gate and up) share one observer.
struct Watched {
  spec::View value;
  int64_t width = 0;
  std::vector<std::string> ops;
  std::set<recipe::Need> needs;  // of all of them together
};
// InputError for a name that is no linear of the segment.
std::vector<Watched> group_by_input(const spec::Segment& segment,
                                    const std::map<std::string, std::set<recipe::Need>>& observe);

// The part of one sample that can be computed beside others, in any order.
struct SampleStatistics {
  std::vector<float> absmax;   // [K]
  std::vector<double> sum;     // [K]
  std::vector<double> square;  // [K]
};
// x [T, K] f32, contiguous.
SampleStatistics summarise(const at::Tensor& x, const std::set<recipe::Need>& needs);

// Takes the samples in order, whatever order they were computed in, so that sums have the same
// bytes at any thread count.
class Observer {
 public:
  // `sequences`: how many samples will come; the Hessian is 2 / sequences times the sum of x x^T.
  Observer(Watched watched, int64_t sequences);
  const Watched& watched() const { return watched_; }
  void add(const at::Tensor& x, const SampleStatistics& sample, ThreadPool& pool);
  recipe::InputStatistics finish();

 private:
  Watched watched_;
  recipe::InputStatistics statistics_;
  std::vector<double> sum_, square_;
  double weight_ = 0;
};

}  // namespace halftone::calib
