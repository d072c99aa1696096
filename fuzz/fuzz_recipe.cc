// Recipes as users write them: YAML of any shape ends in a typed error or a recipe that survives
// being written and read.
#include <string>

#include "fuzz/fuzz.h"
#include "halftone/recipe/library.h"
#include "halftone/recipe/yaml.h"

using namespace halftone;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  Json json;
  if (!fuzz::accepts([&] { json = recipe::parse_yaml(text, "r.yaml"); })) return 0;
  recipe::Recipe recipe;
  static const recipe::Parts parts = recipe::builtin_parts();
  if (!fuzz::accepts([&] {
        recipe = recipe::recipe_from_json(json, "r", "r.yaml");
        recipe::resolve(recipe, parts);
      }))
    return 0;
  recipe::Recipe again;
  const bool reads_back = fuzz::accepts([&] {
    again = recipe::recipe_from_json(recipe::to_json(recipe), "r", "r.yaml");
    recipe::resolve(again, parts);
  });
  fuzz::require(reads_back && again == recipe, "a resolved recipe survives being written and read");
  return 0;
}
