// The recipe's format, changed by its overrides in order: a later one wins.
#include "halftone/recipe/allocator.h"
#include "halftone/recipe/allocator/shared/each_linear.h"
#include "halftone/recipe/recipe.h"

namespace halftone::allocator {
namespace {

struct Options {};
void fields(auto&, Options&) {}

format::Plan run(const spec::ModelSpec& spec, const recipe::Recipe& recipe,
                 const std::set<std::string>& kept) {
  return plan_each(spec, kept, [&](const spec::LinearRef& ref) {
    format::Format format = recipe.format;
    for (const recipe::Override& rule : recipe.overrides)
      if (rule.format && recipe::matches(rule, ref))
        format = format::format_from_json(*rule.format, recipe.format, "recipe " + recipe.name);
    return format;
  });
}

}  // namespace

Entry by_list() {
  return {.summary = "the recipe's format, changed by its overrides",
          .paper = "",
          .options = describe_fields<Options>(),
          .resolve =
              [](const Json& json) {
                return write_fields(read_fields<Options>(json, "allocator by_list"));
              },
          .clash = {},
          .run = run};
}

}  // namespace halftone::allocator
