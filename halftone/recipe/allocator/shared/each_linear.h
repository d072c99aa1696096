// The loop that allocators share.
#pragma once

#include "halftone/recipe/allocator.h"

namespace halftone::allocator {

// A plan for the weights of all linears but those in `kept`; format_of(linear) says which.
template <class FormatOf>
format::Plan plan_each(const spec::ModelSpec& spec, const std::set<std::string>& kept,
                       const FormatOf& format_of) {
  format::Plan plan;
  for (const spec::LinearRef& ref : spec::linears(spec))
    if (!kept.contains(ref.op->name))
      plan.ports[{ref.op->name, format::Port::weight}] = format_of(ref);
  return plan;
}

}  // namespace halftone::allocator
