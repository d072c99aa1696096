// halftone recipes: what can be done, and everything one recipe would do.
#include "halftone/cli/session.h"
#include "halftone/recipe/library.h"
#include "halftone/recipe/recipe.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string name;
};

Json row_of(const std::string& name, const recipe::Recipe& recipe) {
  return {{"name", name}, {"summary", recipe.summary}};
}

int list(Session& session) {
  Json rows = Json::array();
  TextTable table{{"recipe", "what it does"}, {}};
  for (const auto& builtin : recipe::builtin_recipes()) {
    const recipe::Recipe recipe = recipe::load_recipe(std::string(builtin.name), *session.env);
    rows.push_back(row_of(std::string(builtin.name), recipe));
    table.rows.push_back({std::string(builtin.name), recipe.summary});
  }
  session.print({{"recipes", rows}}, [&] {
    for (const auto& row : table.rows)
      session.terminal.out(row[0] + std::string(row[0].size() < 16 ? 16 - row[0].size() : 1, ' ') +
                           row[1]);
    session.terminal.out(
        "\nA format can follow any of them: rtn_int4_g64, gptq_int3_g64, gptq_int4_g128_asym, "
        "rtn_int8 (one scale a row).");
    session.terminal.out(
        "halftone recipes NAME shows all of a recipe; a .yaml file of your own works wherever a "
        "name does.");
  });
  return 0;
}

int show(Session& session, const std::string& name) {
  recipe::Recipe recipe = recipe::load_recipe(name, *session.env);
  const recipe::Parts parts = recipe::builtin_parts();
  recipe::resolve(recipe, parts);
  const Json json = recipe::to_json(recipe);
  session.print(json, [&] { session.terminal.out(json.dump(2)); });
  return 0;
}

}  // namespace

Command recipes() {
  return {.summary = "list recipes, or show one with every option resolved",
          .examples = "  halftone recipes\n  halftone recipes gptq_int4_g64 --json",
          .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
            auto options = std::make_shared<Options>();
            app.add_option(
                "NAME", options->name,
                "a recipe, or <method>_<format><bits>[_g<group>][_asym], or a .yaml file");
            session.add_json(app);
            return [options, &session] {
              session.start();
              return options->name.empty() ? list(session) : show(session, options->name);
            };
          }};
}

}  // namespace halftone::cli
