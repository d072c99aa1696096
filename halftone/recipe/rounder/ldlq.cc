// LDLQ, the lean half. The algorithm is in ldlq_run.cc.
#include "halftone/recipe/rounder/ldlq.h"

#include "halftone/recipe/rounder/shared/describe.h"

namespace halftone::rounder {

Entry ldlq() {
  Entry entry = describe<LdlqOptions>("ldlq");
  entry.summary =
      "rounding with linear feedback (QuIP's, without incoherence); equals gptq by another road";
  entry.paper = "arXiv:2307.13304";
  entry.needs = {recipe::Need::input_hessian};
  entry.scatters_groups = [](const Json& json) {
    const auto o = read_fields<LdlqOptions>(json, "ldlq");
    return o.act_order && !o.static_groups;
  };
  entry.flops = [](int64_t n, int64_t k) {
    return 3.0 * static_cast<double>(n) * static_cast<double>(k) * static_cast<double>(k);
  };
  return entry;
}

}  // namespace halftone::rounder
