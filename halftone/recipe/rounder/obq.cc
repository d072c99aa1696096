// OBQ, the lean half. The algorithm is in obq_run.cc.
#include "halftone/recipe/rounder/obq.h"

#include "halftone/recipe/rounder/shared/describe.h"

namespace halftone::rounder {

Entry obq() {
  Entry entry = describe<ObqOptions>("obq");
  entry.summary = "exact greedy rounding with error feedback, for small layers";
  entry.paper = "arXiv:2208.11580";
  entry.needs = {recipe::Need::input_hessian};
  entry.too_large = [](int64_t, int64_t k, const Json& options) {
    return too_wide(read_options<ObqOptions>(options, "obq"), k);
  };
  // n k^3 multiply-adds in double, one row at a time: as slow as 80 flops each of a matrix product
  // in float (measured on 64 to 172 columns).
  entry.flops = [](int64_t n, int64_t k) {
    const auto columns = static_cast<double>(k);
    return 80 * static_cast<double>(n) * columns * columns * columns;
  };
  return entry;
}

}  // namespace halftone::rounder
