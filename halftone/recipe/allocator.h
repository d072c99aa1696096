// The allocator slot: how many bits where. An allocator maps all linears at once to a complete
// Plan; it keeps no counters and does not depend on visiting order.
#pragma once

#include "halftone/format/plan.h"
#include "halftone/recipe/part.h"
#include "halftone/spec/model_spec.h"

namespace halftone::allocator {

struct Entry {
  std::string summary, paper;
  std::vector<FieldInfo> options;
  std::function<Json(const Json& options)> resolve;
  std::function<std::string(const recipe::Recipe& recipe, const Json& options)> clash;
  // `kept` are the linears that stay dense by the recipe's `keep`: they may not be in the result.
  std::function<format::Plan(const spec::ModelSpec& spec, const recipe::Recipe& recipe,
                             const std::set<std::string>& kept)>
      run;
};

std::span<const Named<Entry>> entries();  // generated from recipe/allocator/*.cc

}  // namespace halftone::allocator
