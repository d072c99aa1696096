// A part of a recipe: what a user names in a slot, and what each entry of a slot says about itself.
#pragma once

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/entries.h"
#include "halftone/base/fields.h"
#include "halftone/base/json.h"
#include "halftone/recipe/block_engine.h"

namespace halftone::recipe {

struct Recipe;

// "gptq" or {name: gptq, block: 64} in YAML. Once a recipe is resolved, `options` holds every
// option with its value.
struct Part {
  std::string name;
  Json options = Json::object();
  bool operator==(const Part&) const = default;
};

// Lean description of an entry; slots whose parts run in an engine add their run beside it.
struct PartDescription {
  std::string summary, paper;
  std::set<Need> needs;
  std::vector<FieldInfo> options;
  std::function<Json(const Json& options)> resolve;  // refuses unknown keys, fills in defaults
  // Empty when the part fits the rest of the recipe, else "<other part>: <why>".
  std::function<std::string(const Recipe& recipe, const Json& options)> clash;
};

}  // namespace halftone::recipe

// Slots of which no part is built in yet; their tables are generated like all others, from
// recipe/<slot>/*.cc.
namespace halftone::transform {
using Entry = recipe::PartDescription;
std::span<const Named<Entry>> entries();
}  // namespace halftone::transform
namespace halftone::corrector {
using Entry = recipe::PartDescription;
std::span<const Named<Entry>> entries();
}  // namespace halftone::corrector
namespace halftone::trainer {
using Entry = recipe::PartDescription;
std::span<const Named<Entry>> entries();
}  // namespace halftone::trainer
