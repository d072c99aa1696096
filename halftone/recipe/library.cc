#include "halftone/recipe/library.h"

#include <charconv>

#include "halftone/recipe/yaml.h"

namespace halftone::recipe {
namespace {

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  if (text.empty() || text.size() > 9 || text[0] < '0' || text[0] > '9') return std::nullopt;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), value);
  return r.ec == std::errc() && r.ptr == text.data() + text.size() ? std::optional(value)
                                                                   : std::nullopt;
}

struct Label {
  std::string_view method;  // what stands before the format, without its underscore
  std::string kind;
  int64_t bits = 0, group = 0;
  bool tensor = false, symmetric = true, clip_search = false;
};

// Reads from the right: [_clip], [_asym], [_g<group> or _tensor], <kind><bits>: what
// Format::label() writes.
std::optional<Label> read_label(const std::string_view whole) {
  std::string_view name = whole;
  Label out;
  const auto last_word = [&] {
    return name.substr(name.rfind('_') == std::string_view::npos ? 0 : name.rfind('_') + 1);
  };
  const auto drop = [&](std::string_view word) {
    name.remove_suffix(word.size());
    if (name.ends_with('_')) name.remove_suffix(1);
  };
  if (last_word() == "clip") {
    out.clip_search = true;
    drop("clip");
  }
  if (last_word() == "asym") {
    out.symmetric = false;
    drop("asym");
  }
  if (last_word() == "tensor") {
    out.tensor = true;
    drop("tensor");
  }
  if (const auto word = last_word(); word.starts_with('g')) {
    if (const auto group = whole_number(word.substr(1))) {
      if (*group == 0)
        throw InputError("format", "the group of " + quote(whole) + " is 0",
                         "a group has 1 column or more; without _g there is one scale a row");
      out.group = *group;
      drop(word);
    }
  }
  const auto word = last_word();
  const auto digits = word.find_first_of("0123456789");
  if (digits == 0 || digits == std::string_view::npos) return std::nullopt;
  const auto bits = whole_number(word.substr(digits));
  if (!bits) return std::nullopt;
  out.kind = std::string(word.substr(0, digits));
  out.bits = *bits;
  drop(word);
  out.method = name;
  return out;
}

const BuiltinRecipe* find_builtin(std::string_view name) {
  for (const BuiltinRecipe& recipe : builtin_recipes())
    if (recipe.name == name) return &recipe;
  return nullptr;
}

format::Format format_of(const Label& label, const format::Format& base,
                         const std::string& subject) {
  Json json = {{"kind", label.kind}, {"bits", label.bits}, {"symmetric", label.symmetric}};
  json["granularity"] = label.group > 0 ? "group" : label.tensor ? "tensor" : "row";
  if (label.clip_search) json["clip_search"] = true;
  if (label.group > 0) json["group"] = label.group;
  return format::format_from_json(json, base, subject);
}

}  // namespace

std::optional<format::Format> format_from_label(std::string_view label,
                                                const format::Format& base) {
  const auto read = read_label(label);
  if (!read || !read->method.empty()) return std::nullopt;
  return format_of(*read, base, "format " + std::string(label));
}

format::Format format_from(const Json& json, const format::Format& base,
                           const std::string& subject) {
  if (!json.is_string()) return format::format_from_json(json, base, subject);
  const auto format = format_from_label(json.get<std::string>(), base);
  if (!format)
    throw InputError(subject, quote(json.get<std::string>()) + " is not a format",
                     "write one such as int4_g64, int8 or int3_g128_asym");
  return *format;
}

Recipe load_recipe(const std::string& name, Env& env) {
  if (name.find('/') != std::string::npos || name.ends_with(".yaml") || name.ends_with(".yml") ||
      name.ends_with(".json")) {
    // A receipt lists every tensor and layer; what people write is short.
    const bool receipt = name.ends_with(".json");
    const std::string text = env.read_text(name, receipt ? Limits{}.json_file_bytes : 1 << 20);
    Json json = receipt ? parse_json(text, name) : parse_yaml(text, name);
    if (name.ends_with("halftone.json") && json.is_object() && json.contains("recipe"))
      json = Json(json["recipe"]);
    std::string stem = file_name(name);
    stem = stem.substr(0, stem.rfind('.'));
    return recipe_from_json(json, stem, name);
  }
  const auto read = [](const BuiltinRecipe& builtin) {
    const std::string subject = "recipe " + std::string(builtin.name);
    return recipe_from_json(parse_yaml(builtin.text, subject), std::string(builtin.name), subject);
  };
  if (const BuiltinRecipe* builtin = find_builtin(name)) return read(*builtin);

  std::vector<std::string> names;
  for (const BuiltinRecipe& builtin : builtin_recipes()) names.emplace_back(builtin.name);
  const std::string all = listed(names);
  const auto label = read_label(name);
  if (!label || label->method.empty())
    throw InputError(
        "recipe", "unknown recipe " + quote(name),
        did_you_mean(
            name, names,
            "methods: " + all + ", with a format as in gptq_int4_g64; or the path of a .yaml"));
  const BuiltinRecipe* method = find_builtin(label->method);
  if (!method) {
    // A rounder is not a method, but some method is that rounder in every slot.
    auto near = std::optional<std::string>();
    for (const BuiltinRecipe& builtin : builtin_recipes())
      if (read(builtin).rounder.name == label->method) near = std::string(builtin.name);
    if (!near) near = nearest_name(label->method, names);
    throw InputError(
        "recipe", "unknown recipe " + quote(name) + ": there is no method " + quote(label->method),
        near ? "did you mean " + *near + name.substr(label->method.size()) + "?"
             : "methods: " + all);
  }
  Recipe recipe = read(*method);
  recipe.format = format_of(*label, recipe.format, "recipe " + name);
  recipe.name = name;
  return recipe;
}

}  // namespace halftone::recipe
