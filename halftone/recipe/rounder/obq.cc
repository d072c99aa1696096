// OBQ, the lean half. The algorithm is in obq_run.cc.
#include "halftone/recipe/rounder/obq.h"

#include "halftone/recipe/rounder/shared/describe.h"

namespace halftone::rounder {

Entry obq() {
  Entry entry = describe<ObqOptions>("obq");
  entry.summary = "exact greedy rounding with error feedback, for small layers";
  entry.paper = "arXiv:2208.11580";
  entry.needs = {recipe::Need::input_hessian};
  entry.flops = [](int64_t n, int64_t k) {
    const auto columns = static_cast<double>(k);
    return static_cast<double>(n) * columns * columns * columns;
  };
  return entry;
}

}  // namespace halftone::rounder
