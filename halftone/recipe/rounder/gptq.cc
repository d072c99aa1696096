// GPTQ, the lean half: what it is called, takes and needs. The algorithm is in gptq_run.cc.
#include "halftone/recipe/rounder/gptq.h"

#include "halftone/recipe/rounder/shared/describe.h"

namespace halftone::rounder {

Entry gptq() {
  Entry entry = describe<GptqOptions>("gptq");
  entry.summary = "column-wise rounding with error feedback";
  entry.paper = "arXiv:2210.17323";
  entry.needs = {recipe::Need::input_hessian};
  entry.scatters_groups = [](const Json& json) {
    const auto o = read_fields<GptqOptions>(json, "gptq");
    return o.act_order && !o.static_groups;
  };
  // The loop, and the error of its result and of nearest.
  entry.flops = [](int64_t n, int64_t k) {
    return 3.0 * static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(k);
  };
  return entry;
}

}  // namespace halftone::rounder
