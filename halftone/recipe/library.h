// Where recipes come from: those of recipes/*.yaml, built into the program; a path; or a name that
// says method and format:
//     <method>_<kind><bits>[_g<group>][_asym]
// is recipes/<method>.yaml with its format replaced: gptq_int3_g64, rtn_int8 (one scale a row),
// rtn_int4_g32_asym.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "halftone/recipe/recipe.h"

namespace halftone::recipe {

struct BuiltinRecipe {
  std::string_view name, text;  // file name without .yaml, contents
};
std::span<const BuiltinRecipe> builtin_recipes();  // generated at build time, sorted

// "int4_g64_asym" -> {int, 4 bits, group 64, asymmetric}; without _g one scale a row. What the
// label does not say (grid, scale type, clip search) comes from `base`. Empty when `label` has
// another shape. Bits and kind are checked.
std::optional<format::Format> format_from_label(std::string_view label, const format::Format& base);

// A label, or a map of keys that change `base`.
format::Format format_from(const Json& json, const format::Format& base,
                           const std::string& subject);

// Not resolved yet. InputError names the nearest recipe or method.
Recipe load_recipe(const std::string& name_or_path, Env& env);

}  // namespace halftone::recipe
