#include <algorithm>

#include "halftone/recipe/recipe.h"

namespace halftone::recipe {
namespace {

std::vector<std::string> linear_names(const std::vector<spec::LinearRef>& linears) {
  std::vector<std::string> names;
  for (const auto& ref : linears) names.push_back(ref.op->name);
  return names;
}

std::string layer_count(const spec::ModelSpec& spec) {
  return "the model has blocks 0-" + std::to_string(static_cast<int64_t>(spec.blocks.size()) - 1);
}

// A condition that can never hold is a slip of the pen: silence would leave layers at the wrong
// width.
void check_rule(const Override& rule, const std::string& subject, const spec::ModelSpec& spec,
                const std::vector<spec::LinearRef>& linears) {
  const auto blocks = static_cast<int64_t>(spec.blocks.size());
  for (const auto& [first, last] : rule.layers)
    if (first >= blocks || last >= blocks)
      throw InputError(subject,
                       "layer " + std::to_string(std::max(first, last)) + " does not exist",
                       layer_count(spec));
  const auto names = linear_names(linears);
  for (const std::string& op : rule.ops) {
    if (std::find(names.begin(), names.end(), op) != names.end()) continue;
    throw InputError(subject, "the model has no linear " + quote(op), did_you_mean(op, names, ""));
  }
  if (std::none_of(linears.begin(), linears.end(),
                   [&](const auto& linear) { return matches(rule, linear); }))
    throw InputError(subject, "matches no linear of the model");
}

std::set<std::string> kept_linears(const Recipe& recipe, const std::string& subject,
                                   const spec::ModelSpec& spec,
                                   const std::vector<spec::LinearRef>& linears) {
  std::set<std::string> kept;
  bool embedding = false;
  for (const std::string& word : recipe.keep) {
    if (word == "embedding") {
      embedding = true;
    } else if (const auto role = spec::role_from(word)) {
      for (const auto& ref : linears)
        if (ref.linear().role == *role) kept.insert(ref.op->name);
    } else {
      auto names = linear_names(linears);
      if (std::find(names.begin(), names.end(), word) == names.end()) {
        for (const auto& role_name : spec::role_names()) names.push_back(role_name);
        throw InputError(subject,
                         "keep: " + quote(word) + " is neither a role nor a linear of the model",
                         did_you_mean(word, names, ""));
      }
      kept.insert(word);
    }
  }
  if (!embedding)
    throw UnsupportedError(subject, "embeddings cannot be quantized",
                           "add embedding to the recipe's keep");
  for (const Override& rule : recipe.overrides)
    if (rule.keep)
      for (const auto& ref : linears)
        if (matches(rule, ref))
          *rule.keep ? (void)kept.insert(ref.op->name) : (void)kept.erase(ref.op->name);
  for (const auto& ref : linears)
    if (ref.linear().role == spec::Role::head && spec.tied_head && !kept.contains(ref.op->name))
      throw UnsupportedError(
          subject,
          "linear " + ref.op->name + " shares its weight with the embedding, which stays dense",
          "add head to the recipe's keep");
  return kept;
}

}  // namespace

bool matches(const Override& rule, const spec::LinearRef& linear) {
  if (!rule.roles.empty() &&
      std::find(rule.roles.begin(), rule.roles.end(), linear.linear().role) == rule.roles.end())
    return false;
  if (!rule.ops.empty() &&
      std::find(rule.ops.begin(), rule.ops.end(), linear.op->name) == rule.ops.end())
    return false;
  if (rule.layers.empty()) return true;
  return std::any_of(rule.layers.begin(), rule.layers.end(), [&](const auto& range) {
    return linear.segment >= range.first && (range.second < 0 || linear.segment <= range.second);
  });
}

Assignment assign(const Recipe& recipe, const spec::ModelSpec& spec, const Parts& parts) {
  const std::string subject = "recipe " + recipe.name;
  const auto linears = spec::linears(spec);
  for (size_t i = 0; i < recipe.overrides.size(); ++i)
    check_rule(recipe.overrides[i], subject + ": override " + std::to_string(i + 1), spec, linears);
  const std::set<std::string> kept = kept_linears(recipe, subject, spec, linears);

  Assignment out;
  out.plan = parts.allocators.at(recipe.allocator.name).run(spec, recipe, kept);
  const auto blocks = static_cast<int64_t>(spec.blocks.size());
  for (const auto& ref : linears) {
    const format::Format* format = out.plan.find(ref.op->name, format::Port::weight);
    if (!format) {
      out.kept.push_back(ref.op->name);
      continue;
    }
    Choice choice{.op = ref.op->name,
                  .segment = ref.segment,
                  .out = ref.linear().out,
                  .in = ref.linear().in,
                  .format = *format,
                  .rounder = recipe.rounder};
    for (const Override& rule : recipe.overrides)
      if (rule.rounder && matches(rule, ref)) choice.rounder = *rule.rounder;
    const rounder::Entry& entry = parts.rounders.at(choice.rounder.name);
    choice.scattered = choice.format.granularity == format::Granularity::group &&
                       entry.scatters_groups && entry.scatters_groups(choice.rounder.options);
    if (const std::string why =
            entry.clash ? entry.clash(choice.format, choice.rounder.options) : "";
        !why.empty())
      throw UnsupportedError(subject, "linear " + choice.op + ": rounder " + choice.rounder.name +
                                          " and format " + choice.format.label() +
                                          " clash: " + why);
    if (const std::string why =
            entry.too_large ? entry.too_large(choice.out, choice.in, choice.rounder.options) : "";
        !why.empty())
      throw UnsupportedError(subject, "linear " + choice.op + ": " + why);
    const bool in_block = ref.segment >= 0 && ref.segment < blocks;
    if (!in_block && !rounder::needs_of(entry, choice.rounder.options).empty())
      throw UnsupportedError(subject,
                             "linear " + choice.op + " lies outside of the blocks, where rounder " +
                                 choice.rounder.name + " finds no calibration inputs",
                             "add it to keep, or override its rounder with nearest");
    if (ref.segment < 0)
      throw UnsupportedError(subject, "linear " + choice.op + " comes before the first block",
                             "add it to keep");
    out.choices.push_back(std::move(choice));
  }
  if (out.choices.empty())
    throw InputError(subject, "quantizes nothing: every linear is kept", "shorten keep");
  return out;
}

}  // namespace halftone::recipe
