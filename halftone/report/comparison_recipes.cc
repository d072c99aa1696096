#include <algorithm>

#include "halftone/report/comparison_sections.h"
#include "halftone/report/html.h"

namespace halftone::report {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

// A recipe as lines: "format.bits" 4. Lists stand whole.
void flatten(const Json& value, const std::string& name, Fields& out) {
  if (value.is_object() && !value.empty()) {
    for (const auto& [key, field] : value.items())
      flatten(field, name.empty() ? key : name + "." + key, out);
    return;
  }
  out.emplace_back(name, value.is_string()
                             ? value.get<std::string>()
                             : value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace

std::string recipes_section(const Json& result) {
  if (!any_model_has(result, "recipe")) return {};
  std::vector<std::string> head = {"field"}, names;
  std::vector<Fields> recipes;
  for (size_t m = 1; m < result["models"].size(); ++m) {
    const Json& model = result["models"][m];
    if (!model.contains("recipe") || !model["recipe"].is_object()) continue;
    head.push_back(model_name(result, m));
    flatten(model["recipe"], "", recipes.emplace_back());
    for (const auto& field : recipes.back())
      if (std::find(names.begin(), names.end(), field.first) == names.end())
        names.push_back(field.first);
  }
  std::vector<std::vector<std::string>> rows;
  size_t differ = 0;
  for (const std::string& name : names) {
    rows.push_back({escape_html(name)});
    std::vector<std::string> values;
    for (const Fields& recipe : recipes) {
      const auto field = std::find_if(recipe.begin(), recipe.end(),
                                      [&](const auto& f) { return f.first == name; });
      values.push_back(field == recipe.end() ? "" : field->second);
      rows.back().push_back(
          field == recipe.end() ? "&#8211;" : "<bdi>" + escape_html(values.back()) + "</bdi>");
    }
    differ +=
        std::adjacent_find(values.begin(), values.end(), std::not_equal_to<>()) != values.end();
  }
  return folded_section("recipes", "Recipes",
                        recipes.size() == 1 ? std::to_string(names.size()) + " fields"
                                            : std::to_string(differ) + " of " +
                                                  std::to_string(names.size()) + " fields differ",
                        html_table("recipes", head, rows));
}

}  // namespace halftone::report
