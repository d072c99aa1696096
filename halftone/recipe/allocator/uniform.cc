// Every linear that is not kept gets the recipe's format.
#include "halftone/recipe/allocator.h"
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
  format::Plan plan;
  for (const auto& ref : spec::linears(spec))
    if (!kept.contains(ref.op->name))
      plan.ports[{ref.op->name, format::Port::weight}] = recipe.format;
  return plan;
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
