#include "halftone/recipe/recipe.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "halftone/recipe/library.h"

namespace halftone::recipe {
namespace {

// One map of a recipe: typed reads, and at the end a refusal of every key that nobody read.
class MapReader {
 public:
  MapReader(const Json& json, std::string subject) : json_(json), subject_(std::move(subject)) {
    if (!json.is_object())
      throw InputError(subject_, "wanted a map of keys, found " + std::string(json.type_name()));
  }
  const Json* find(std::string_view key) {
    known_.emplace_back(key);
    const auto it = json_.find(std::string(key));
    return it == json_.end() || it->is_null() ? nullptr : &*it;
  }
  std::string text(std::string_view key, std::string absent) {
    const Json* v = find(key);
    if (!v) return absent;
    if (!v->is_string()) wrong(key, *v, "a text");
    return v->get<std::string>();
  }
  int64_t whole(std::string_view key, int64_t absent, int64_t low, int64_t high) {
    const Json* v = find(key);
    if (!v) return absent;
    const bool fits =
        v->is_number_unsigned()
            ? v->get<uint64_t>() <= static_cast<uint64_t>(high) && v->get<int64_t>() >= low
            : v->is_number_integer() && v->get<int64_t>() >= low && v->get<int64_t>() <= high;
    if (!fits)
      wrong(key, *v, "a whole number from " + std::to_string(low) + " to " + std::to_string(high));
    return v->get<int64_t>();
  }
  bool boolean(std::string_view key, bool absent) {
    const Json* v = find(key);
    if (!v) return absent;
    if (!v->is_boolean()) wrong(key, *v, "true or false");
    return v->get<bool>();
  }
  // A list of text; one text alone counts as a list of one.
  std::vector<std::string> texts(std::string_view key) {
    const Json* v = find(key);
    if (!v) return {};
    if (v->is_string()) return {v->get<std::string>()};
    if (!v->is_array()) wrong(key, *v, "a list of names");
    std::vector<std::string> out;
    for (const Json& item : *v) {
      if (!item.is_string()) wrong(key, item, "a name");
      out.push_back(item.get<std::string>());
    }
    return out;
  }
  template <class T, size_t N>
  T choice(std::string_view key, T absent,
           const std::array<std::pair<std::string_view, T>, N>& choices) {
    const Json* v = find(key);
    if (!v) return absent;
    std::vector<std::string> names;
    for (const auto& [name, value] : choices) {
      if (v->is_string() && v->get_ref<const std::string&>() == name) return value;
      names.emplace_back(name);
    }
    const std::string all = "it is one of: " + listed(names);
    const std::string said = v->is_string() ? v->get<std::string>() : v->dump();
    throw InputError(subject_, std::string(key) + " is " + quote(said),
                     v->is_string() ? did_you_mean(v->get<std::string>(), names, all) : all);
  }
  [[noreturn]] void wrong(std::string_view key, const Json& value,
                          const std::string& wanted) const {
    throw InputError(subject_,
                     std::string(key) + " is " + quote(value.dump()) + ", wanted " + wanted);
  }
  void finish() const {
    for (const auto& [key, value] : json_.items()) {
      if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
      throw InputError(subject_, "unknown key " + quote(key), did_you_mean(key, known_));
    }
  }
  const std::string& subject() const { return subject_; }

 private:
  const Json& json_;
  std::string subject_;
  std::vector<std::string> known_;
};

using Windows = CalibrationRequest::Windows;
using Bos = CalibrationRequest::Bos;
constexpr std::array<std::pair<std::string_view, Windows>, 2> kWindows = {
    {{"document", Windows::document}, {"gptq", Windows::gptq}}};
constexpr std::array<std::pair<std::string_view, Bos>, 3> kBos = {
    {{"auto", Bos::auto_}, {"never", Bos::never}, {"each_sample", Bos::each_sample}}};
constexpr std::array<std::pair<std::string_view, DType>, 3> kDense = {
    {{"f16", DType::f16}, {"bf16", DType::bf16}, {"f32", DType::f32}}};
const std::array<std::pair<std::string_view, LayoutChoice>, 4> kLayouts = {
    {{"halftone", {pack::Layout::halftone, 0}},
     {"gptq", {pack::Layout::gptq, 0}},
     {"gptq_v1", {pack::Layout::gptq, 1}},
     {"gptq_v2", {pack::Layout::gptq, 2}}}};
template <class T, size_t N>
std::string name_of(const T& value, const std::array<std::pair<std::string_view, T>, N>& choices) {
  for (const auto& [name, candidate] : choices)
    if (candidate == value) return std::string(name);
  check(false, "a recipe holds a value without a name");
  return {};
}

Part part_from(const Json& json, const std::string& subject) {
  if (json.is_string()) return {json.get<std::string>(), Json::object()};
  if (!json.is_object()) throw InputError(subject, "wanted a name, or a map with name and options");
  Part part;
  for (const auto& [key, value] : json.items()) {
    if (key != "name") {
      part.options[key] = value;
      continue;
    }
    if (!value.is_string())
      throw InputError(subject, "name is " + quote(value.dump()) + ", wanted a text");
    part.name = value.get<std::string>();
  }
  if (part.name.empty()) throw InputError(subject, "name is missing");
  return part;
}

Json part_json(const Part& part) {
  Json json = {{"name", part.name}};
  for (const auto& [key, value] : part.options.items()) json[key] = value;
  return json;
}

std::vector<Part> parts_from(const Json* json, const std::string& subject) {
  std::vector<Part> parts;
  if (!json) return parts;
  if (!json->is_array()) return {part_from(*json, subject)};
  for (const Json& item : *json) parts.push_back(part_from(item, subject));
  return parts;
}

CalibrationRequest calibration_from(const Json& json, const std::string& subject) {
  MapReader in(json, subject);
  CalibrationRequest out;
  out.data = in.text("data", out.data);
  if (out.data.empty())
    throw InputError(subject, "data is empty", "name a set (wikitext2, c4, ptb, self) or a file");
  out.samples = in.whole("samples", out.samples, 1, kMostSamples);
  out.length = in.whole("length", out.length, 2, kLongestSample);
  out.seed = static_cast<uint64_t>(in.whole("seed", 0, 0, std::numeric_limits<int64_t>::max()));
  out.windows = in.choice("windows", out.windows, kWindows);
  out.bos = in.choice("bos", out.bos, kBos);
  out.chat_template = in.boolean("chat_template", out.chat_template);
  in.finish();
  return out;
}

Json calibration_json(const CalibrationRequest& c) {
  return {{"data", c.data},
          {"samples", c.samples},
          {"length", c.length},
          {"seed", static_cast<int64_t>(c.seed)},
          {"windows", name_of(c.windows, kWindows)},
          {"bos", name_of(c.bos, kBos)},
          {"chat_template", c.chat_template}};
}

Override override_from(const Json& json, const std::string& subject) {
  MapReader in(json, subject);
  Override out;
  for (const std::string& name : in.texts("roles")) {
    const auto role = spec::role_from(name);
    if (!role)
      throw InputError(subject, "unknown role " + quote(name),
                       did_you_mean(name, spec::role_names()));
    out.roles.push_back(*role);
  }
  if (const Json* layers = in.find("layers")) {
    if (!layers->is_string() && !layers->is_number_integer())
      in.wrong("layers", *layers, "a range of layers such as 0-3,7");
    out.layers = parse_layers(
        layers->is_string() ? layers->get<std::string>() : std::to_string(layers->get<int64_t>()),
        subject);
  }
  out.ops = in.texts("ops");
  if (const Json* format = in.find("format")) {
    if (!format->is_string() && !format->is_object())
      in.wrong("format", *format, "a label such as int8, or a map");
    out.format = *format;
  }
  if (const Json* rounder = in.find("rounder"))
    out.rounder = part_from(*rounder, subject + ": rounder");
  if (in.find("keep")) out.keep = in.boolean("keep", false);
  in.finish();
  if (!out.format && !out.rounder && !out.keep)
    throw InputError(subject, "changes nothing", "give it a format, a rounder or keep");
  return out;
}

Json override_json(const Override& o) {
  Json out = Json::object();
  if (!o.roles.empty()) {
    out["roles"] = Json::array();
    for (const spec::Role role : o.roles)
      out["roles"].push_back(std::string(spec::role_name(role)));
  }
  std::string layers;
  for (const auto& [first, last] : o.layers)
    layers += (layers.empty() ? "" : ",") + std::to_string(first) +
              (last == first ? ""
               : last < 0    ? "-"
                             : "-" + std::to_string(last));
  if (!layers.empty()) out["layers"] = layers;
  if (!o.ops.empty()) out["ops"] = o.ops;
  if (o.format) out["format"] = *o.format;
  if (o.rounder) out["rounder"] = part_json(*o.rounder);
  if (o.keep) out["keep"] = *o.keep;
  return out;
}

}  // namespace

std::vector<std::string> layout_names() {
  std::vector<std::string> names;
  for (const auto& [name, layout] : kLayouts) names.emplace_back(name);
  return names;
}

LayoutChoice layout_named(std::string_view name) {
  for (const auto& [known, layout] : kLayouts)
    if (known == name) return layout;
  throw InputError("layout", "unknown layout " + quote(name), did_you_mean(name, layout_names()));
}

std::vector<std::pair<int64_t, int64_t>> parse_layers(const std::string& text,
                                                      const std::string& subject) {
  std::vector<std::pair<int64_t, int64_t>> out;
  const auto refuse = [&] {
    throw InputError(subject, "layers is " + quote(text),
                     "write numbers and ranges, as in 0-3,7,28- (from 28 to the end)");
  };
  const char *p = text.data(), *end = p + text.size();
  const auto number = [&]() -> int64_t {
    int64_t value = 0;
    const auto r = std::from_chars(p, end, value);
    if (r.ec != std::errc() || r.ptr == p || value < 0 || value > 100'000) refuse();
    p = r.ptr;
    return value;
  };
  const auto spaces = [&] {
    while (p < end && *p == ' ') ++p;
  };
  for (;;) {
    spaces();
    if (p == end || *p < '0' || *p > '9') refuse();
    const int64_t first = number();
    int64_t last = first;
    spaces();
    if (p < end && *p == '-') {
      ++p;
      spaces();
      last = p < end && *p >= '0' && *p <= '9' ? number() : -1;
      if (last >= 0 && last < first) refuse();
      spaces();
    }
    out.emplace_back(first, last);
    if (p == end) return out;
    if (*p++ != ',') refuse();
  }
}

Recipe recipe_from_json(const Json& json, const std::string& name, const std::string& subject) {
  MapReader in(json, subject);
  Recipe out;
  const int64_t schema =
      in.whole("schema", Recipe::kSchema, 1, std::numeric_limits<int64_t>::max());
  if (schema != Recipe::kSchema)
    throw InputError(subject,
                     "recipe schema " + std::to_string(schema) + " is newer than this program",
                     "this version reads schema " + std::to_string(Recipe::kSchema));
  out.name = in.text("name", name);
  out.summary = in.text("summary", "");
  if (const Json* format = in.find("format"))
    out.format = format_from(*format, out.format, subject + ": format");
  out.transforms = parts_from(in.find("transforms"), subject + ": transforms");
  if (const Json* part = in.find("allocator"))
    out.allocator = part_from(*part, subject + ": allocator");
  if (const Json* part = in.find("rounder")) out.rounder = part_from(*part, subject + ": rounder");
  out.correctors = parts_from(in.find("correctors"), subject + ": correctors");
  if (const Json* part = in.find("trainer")) out.trainer = part_from(*part, subject + ": trainer");
  if (const Json* calibration = in.find("calibration"))
    out.calibration = calibration_from(*calibration, subject + ": calibration");
  out.sequential = in.boolean("sequential", out.sequential);
  if (in.find("keep")) out.keep = in.texts("keep");
  if (const Json* overrides = in.find("overrides")) {
    if (!overrides->is_array()) in.wrong("overrides", *overrides, "a list of maps");
    for (size_t i = 0; i < overrides->size(); ++i)
      out.overrides.push_back(
          override_from((*overrides)[i], subject + ": override " + std::to_string(i + 1)));
  }
  out.dense_dtype = in.choice("dense_dtype", out.dense_dtype, kDense);
  out.layout = in.choice("layout", out.layout, kLayouts);
  in.finish();
  return out;
}

Json to_json(const Recipe& r) {
  Json out = {{"schema", Recipe::kSchema},
              {"name", r.name},
              {"summary", r.summary},
              {"format", format::to_json(r.format)}};
  out["transforms"] = Json::array();
  for (const Part& part : r.transforms) out["transforms"].push_back(part_json(part));
  if (!r.allocator.name.empty()) out["allocator"] = part_json(r.allocator);
  out["rounder"] = part_json(r.rounder);
  out["correctors"] = Json::array();
  for (const Part& part : r.correctors) out["correctors"].push_back(part_json(part));
  if (r.trainer) out["trainer"] = part_json(*r.trainer);
  if (r.calibration) out["calibration"] = calibration_json(*r.calibration);
  out["sequential"] = r.sequential;
  out["keep"] = r.keep;
  out["overrides"] = Json::array();
  for (const Override& o : r.overrides) out["overrides"].push_back(override_json(o));
  out["dense_dtype"] = name_of(r.dense_dtype, kDense);
  out["layout"] = name_of(r.layout, kLayouts);
  return out;
}

}  // namespace halftone::recipe
