// Every linear that is not kept gets the recipe's format.
#include "halftone/recipe/allocator.h"
#include "halftone/recipe/allocator/shared/each_linear.h"
#include "halftone/recipe/recipe.h"

namespace halftone::allocator {
namespace {

struct Options {};
void fields(auto&, Options&) {}

std::string clash(const recipe::Recipe& recipe, const Json&) {
  for (const recipe::Override& rule : recipe.overrides)
    if (rule.format)
      return "the overrides: it gives every linear one format and would ignore theirs; use "
             "allocator by_list";
  return {};
}

format::Plan run(const spec::ModelSpec& spec, const recipe::Recipe& recipe,
                 const std::set<std::string>& kept) {
  return plan_each(spec, kept, [&](const spec::LinearRef&) { return recipe.format; });
}

}  // namespace

Entry uniform() {
  return {.summary = "one format for every linear",
          .paper = "",
          .options = describe_fields<Options>(),
          .resolve =
              [](const Json& json) {
                return write_fields(read_fields<Options>(json, "allocator uniform"));
              },
          .clash = clash,
          .run = run};
}

}  // namespace halftone::allocator
