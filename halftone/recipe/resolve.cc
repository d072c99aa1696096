#include <algorithm>

#include "halftone/recipe/library.h"
#include "halftone/recipe/recipe.h"

namespace halftone::recipe {
namespace {

std::string subject_of(const Recipe& recipe) { return "recipe " + recipe.name; }

void refuse_clash(const Recipe& recipe, const std::string& what, const std::string& why) {
  if (!why.empty()) throw UnsupportedError(subject_of(recipe), what + " does not fit " + why);
}

// Entries of transform, corrector and trainer describe themselves alike.
template <class Entry>
void resolve_part(Part& part, const Table<Entry>& table, const Recipe& recipe,
                  std::string_view slot) {
  const Entry& entry = table.at(part.name);
  part.options = entry.resolve(part.options);
  if (entry.clash)
    refuse_clash(recipe, std::string(slot) + " " + part.name, entry.clash(recipe, part.options));
}

void resolve_rounder(Part& part, const format::Format& format, const Table<rounder::Entry>& table,
                     const Recipe& recipe) {
  const rounder::Entry& entry = table.at(part.name);
  part.options = entry.resolve(part.options);
  const std::string why = entry.clash ? entry.clash(format, part.options) : "";
  if (!why.empty())
    throw UnsupportedError(subject_of(recipe), "rounder " + part.name + " and format " +
                                                   format.label() + " clash: " + why);
}

}  // namespace

void resolve(Recipe& recipe, const Parts& parts) {
  const std::string subject = subject_of(recipe);
  recipe.format =
      format::format_from_json(format::to_json(recipe.format), recipe.format, subject + ": format");
  for (Override& rule : recipe.overrides)
    if (rule.format)
      rule.format =
          format::to_json(format_from(*rule.format, recipe.format, subject + ": override format"));

  bool formats_differ = false;
  for (const Override& rule : recipe.overrides) formats_differ |= rule.format || rule.keep;
  if (recipe.allocator.name.empty()) recipe.allocator.name = formats_differ ? "by_list" : "uniform";

  // Which linear gets which pair of format and rounder is known once there is a model: assign()
  // checks each.
  resolve_rounder(recipe.rounder, recipe.format, parts.rounders, recipe);
  for (Override& rule : recipe.overrides)
    if (rule.rounder)
      rule.rounder->options = parts.rounders.at(rule.rounder->name).resolve(rule.rounder->options);
  for (Part& part : recipe.transforms) resolve_part(part, parts.transforms, recipe, "transform");
  resolve_part(recipe.allocator, parts.allocators, recipe, "allocator");
  for (Part& part : recipe.correctors) resolve_part(part, parts.correctors, recipe, "corrector");
  if (recipe.trainer) resolve_part(*recipe.trainer, parts.trainers, recipe, "trainer");

  if (needs(recipe, parts).empty()) {
    recipe.calibration.reset();
  } else if (!recipe.calibration) {
    recipe.calibration.emplace();
  }
}

std::set<Need> needs(const Recipe& recipe, const Parts& parts) {
  std::set<Need> out;
  const auto add = [&](const std::set<Need>& more) { out.insert(more.begin(), more.end()); };
  for (const Part& part : recipe.transforms) add(parts.transforms.at(part.name).needs);
  add(rounder::needs_of(parts.rounders.at(recipe.rounder.name), recipe.rounder.options));
  for (const Override& rule : recipe.overrides)
    if (rule.rounder)
      add(rounder::needs_of(parts.rounders.at(rule.rounder->name), rule.rounder->options));
  for (const Part& part : recipe.correctors) add(parts.correctors.at(part.name).needs);
  if (recipe.trainer) add(parts.trainers.at(recipe.trainer->name).needs);
  return out;
}

Parts builtin_parts() {
  return {.transforms = {"transform", transform::entries()},
          .allocators = {"allocator", allocator::entries()},
          .rounders = {"rounder", rounder::entries()},
          .correctors = {"corrector", corrector::entries()},
          .trainers = {"trainer", trainer::entries()}};
}

}  // namespace halftone::recipe
