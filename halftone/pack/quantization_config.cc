#include "halftone/pack/quantization_config.h"

#include <algorithm>
#include <charconv>

#include "halftone/base/error.h"
#include "halftone/files/model_config.h"

namespace halftone::pack {
namespace {

using format::Format;
using format::Granularity;

constexpr int64_t kMaxGroup = int64_t{1} << 31;

Format format_of(int64_t bits, int64_t group, bool symmetric) {
  Format f;
  f.bits = bits;
  f.granularity = group > 0 ? Granularity::group : Granularity::row;
  f.group = group > 0 ? group : 0;
  f.symmetric = symmetric;
  return f;
}

// "0.18.0", "0.18.1.a20260101" -> {0, 18}
std::optional<std::pair<int, int>> version_of(const std::string& s) {
  int major = 0, minor = 0;
  const char* end = s.data() + s.size();
  auto [dot, e1] = std::from_chars(s.data(), end, major);
  if (e1 != std::errc() || dot == end || *dot != '.') return {};
  if (std::from_chars(dot + 1, end, minor).ec != std::errc()) return {};
  return std::pair{major, minor};
}

// QuantizationArgs of a weight -> Format.
Format weight_args(const files::ConfigReader& args) {
  const std::string type = args.text("type", "int");
  if (type != "int")
    throw UnsupportedError(args.path(), "weights of type " + quote(type) + " cannot be read",
                           "integer weights can");
  const int64_t bits = args.integer("num_bits", 2, 8, 8);
  const int64_t group = args.integer("group_size", -1, kMaxGroup, 0);
  const std::string strategy = args.text("strategy", group > 0     ? "group"
                                                     : group == -1 ? "channel"
                                                                   : "tensor");
  if (args.has("dynamic") && args.json()["dynamic"] != false)
    args.fail(Code::value, "dynamic", "is set for weights");
  Format f = format_of(bits, 0, args.boolean("symmetric", true));
  if (strategy == "group") {
    if (group < 1)
      args.fail(Code::value, "group_size", "is missing, but the strategy is \"group\"");
    f.granularity = Granularity::group;
    f.group = group;
  } else if (strategy == "tensor") {
    f.granularity = Granularity::tensor;
  } else if (strategy != "channel") {
    throw UnsupportedError(args.path(), "weight strategy " + quote(strategy) + " cannot be read",
                           "tensor, channel and group can");
  }
  return f;
}

Format activation_args(const files::ConfigReader& args) {
  const std::string type = args.text("type", "int");
  const int64_t bits = args.integer("num_bits", 1, 64, 8);
  if (type != "int" || bits != 8)
    throw UnsupportedError(
        args.path(),
        std::to_string(bits) + "-bit activations of type " + quote(type) + " cannot be read",
        "8-bit integer ones can");
  Format f = format_of(8, 0, args.boolean("symmetric", true));
  const std::string strategy = args.text("strategy", "tensor");
  if (strategy == "group") {
    f.granularity = Granularity::group;
    f.group = args.integer("group_size", 1, kMaxGroup);
  } else {
    f.granularity = strategy == "token" ? Granularity::row : Granularity::tensor;
  }
  return f;
}

// The integer presets whose name stands for a whole group (compressed-tensors quant_scheme.py):
// W2A16 .. W8A16, W2A8 .. W7A8 (group 128), W8A8 = INT8 (per channel), W4A16_ASYM. Empty optional:
// not one of them.
std::optional<Scheme> preset(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
  Scheme s;
  const Format token8 = format_of(8, 0, true);
  if (name == "W4A16_ASYM") {
    s.weights = format_of(4, 128, false);
    return s;
  }
  if (name == "W8A8" || name == "INT8") {
    s.weights = format_of(8, 0, true);
    s.input = token8;
    return s;
  }
  if (name.size() >= 4 && name[0] == 'W' && name[1] >= '2' && name[1] <= '8' &&
      (name.substr(2) == "A16" || name.substr(2) == "A8")) {
    s.weights = format_of(name[1] - '0', 128, true);
    if (name.substr(2) == "A8") s.input = token8;
    return s;
  }
  return {};
}

}  // namespace

QuantizationConfig::QuantizationConfig(const Json& json, std::string path)
    : path_(std::move(path)) {
  const files::ConfigReader config(json, path_);
  method_ = config.text("quant_method", json.contains("config_groups") ? "compressed-tensors"
                                        : json.contains("desc_act")    ? "gptq"
                                                                       : "");
  if (method_ == "compressed-tensors" || method_ == "halftone") {
    read_compressed_tensors(config);
  } else if (method_ == "gptq") {
    read_gptq(config);
  } else if (method_.empty()) {
    config.fail(Code::missing, "quant_method", "is missing");
  } else {
    throw UnsupportedError(path_, "quantization method " + quote(method_) + " cannot be read",
                           "compressed-tensors, gptq and halftone can");
  }
}

std::vector<QuantizationConfig::Target> QuantizationConfig::read_targets(
    const files::ConfigReader& config, const std::string& key) const {
  const auto it = config.json().find(key);
  if (it == config.json().end() || it->is_null()) return {};
  if (!it->is_array()) config.fail(Code::type, key, "is not a list");
  std::vector<Target> out;
  for (const Json& item : *it) {
    if (!item.is_string()) config.fail(Code::type, key, "holds something that is not text");
    const auto name = item.get<std::string>();
    if (name.starts_with("re:")) {
      out.push_back({name, ModuleRegex(std::string_view(name).substr(3), path_)});
    } else {
      out.push_back({name, {}});
    }
  }
  return out;
}

void QuantizationConfig::read_compressed_tensors(const files::ConfigReader& config) {
  if (method_ == "halftone") {
    padded_words_ = false;
  } else if (const auto v = version_of(config.text("version", ""))) {
    padded_words_ = *v < std::pair{0, 18};
  }
  if (!config.object("transform_config").empty())
    throw UnsupportedError(path_, "transforms at run time (\"transform_config\") cannot be applied",
                           "use a checkpoint without them");
  if (const files::ConfigReader sparsity(config.object("sparsity_config"), path_);
      sparsity.text("format", "dense") != "dense")
    throw UnsupportedError(path_,
                           "sparsity format " + quote(sparsity.text("format")) + " cannot be read",
                           "dense can");
  if (!config.object("kv_cache_scheme").empty())
    remarks_.push_back("the file asks for a quantized KV cache; here it is kept in floats");

  const auto storage_of = [&](const std::string& name) -> std::optional<Storage> {
    if (name == "pack-quantized") return Storage::packed;
    if (name == "int-quantized") return Storage::int8;
    if (name == "dense") return {};
    throw UnsupportedError(path_, "compressed-tensors format " + quote(name) + " cannot be read",
                           "pack-quantized, int-quantized and dense can");
  };
  const std::string global = config.text("format", "dense");
  ignore_ = read_targets(config, "ignore");
  const Json& groups = config.object("config_groups");
  const files::ConfigReader group_list(groups, path_);
  for (const auto& [key, value] : groups.items()) {
    Group group;
    if (value.is_array()) {  // "W4A16": ["Linear"]
      group.targets = read_targets(group_list, key);
      if (key != "UNQUANTIZED") {
        group.scheme = preset(key);
        if (!group.scheme)
          throw UnsupportedError(path_, "preset " + quote(key) + " cannot be read",
                                 "integer presets (W4A16, W8A8, ...) can");
        const auto storage = storage_of(global);
        if (storage)
          group.scheme->storage = *storage;
        else
          group.scheme.reset();
      }
    } else {
      const files::ConfigReader entry(group_list.object(key), path_);
      if (!entry.has("targets")) entry.fail(Code::missing, "targets", "is missing");
      group.targets = read_targets(entry, "targets");
      const auto storage = storage_of(entry.text("format", global));
      if (entry.has("input_activations") && !entry.has("weights"))
        throw UnsupportedError(path_,
                               "group " + quote(key) + " quantizes activations but not weights",
                               "use a checkpoint with quantized weights");
      if (entry.has("weights") && storage) {
        group.scheme =
            Scheme{*storage, weight_args(files::ConfigReader(entry.object("weights"), path_)), {}};
        if (entry.has("input_activations"))
          group.scheme->input =
              activation_args(files::ConfigReader(entry.object("input_activations"), path_));
        if (entry.has("output_activations"))
          remarks_.push_back("the file asks for quantized outputs; they are kept in floats here");
      }
    }
    groups_.push_back(std::move(group));
  }
  if (std::any_of(groups_.begin(), groups_.end(),
                  [](const Group& g) { return g.scheme && g.scheme->input; }))
    remarks_.push_back(
        "the file was made for int8 activations; exact mode keeps them in floats, int8 mode "
        "quantizes them its own way");
}

void QuantizationConfig::read_gptq(const files::ConfigReader& config) {
  const auto scheme_from = [&](const files::ConfigReader& j, const Scheme* base) {
    const auto first = [&](std::initializer_list<const char*> keys) {
      for (const char* key : keys)
        if (j.has(key)) return std::string(key);
      return std::string(*keys.begin());
    };
    const Format* f = base != nullptr ? &base->weights : nullptr;
    const std::string bits_key = first({"bits", "wbits", "w_bit"}),
                      group_key = first({"group_size", "q_group_size"});
    const int64_t bits = j.integer(bits_key, 2, 8, f ? std::optional(f->bits) : std::nullopt);
    if (bits == 5 || bits == 6 || bits == 7)
      throw UnsupportedError(path_,
                             "GPTQ weights of " + std::to_string(bits) + " bits cannot be read",
                             "2, 3, 4 and 8 can");
    const int64_t before = f != nullptr && f->granularity == Granularity::group ? f->group : -1;
    const int64_t group = j.integer(group_key, -1, kMaxGroup, before);
    if (group == 0) j.fail(Code::value, group_key, "is 0, wanted -1 or more");
    return Scheme{
        Storage::gptq, format_of(bits, group, j.boolean("sym", f ? f->symmetric : true)), {}};
  };
  const std::string layout = config.text("checkpoint_format", config.text("format", "gptq"));
  if (layout == "gptq_v2")
    gptq_version_ = 2;
  else if (layout != "gptq")
    throw UnsupportedError(path_, "GPTQ layout " + quote(layout) + " cannot be read",
                           "gptq and gptq_v2 can: convert it with GPTQModel");
  if (config.boolean("is_marlin_format", false) || config.boolean("use_bitblas_format", false))
    throw UnsupportedError(path_,
                           "GPTQ weights tiled for one GPU kernel (marlin, bitblas) cannot be read",
                           "convert them to gptq with GPTQModel");
  if (const std::string words = config.text("pack_dtype", "int32"); words != "int32")
    throw UnsupportedError(path_, "pack_dtype " + quote(words) + " cannot be read", "int32 can");
  gptq_ = scheme_from(config, nullptr);
  gptq_head_ = config.boolean("lm_head", false);
  const auto dynamic = config.json().find("dynamic");  // an object, or false
  if (dynamic == config.json().end() || *dynamic == false) return;
  const files::ConfigReader overrides(config.object("dynamic"), path_);
  for (const auto& [key, value] : overrides.json().items()) {
    std::string_view pattern = key;
    const bool skip = pattern.starts_with("-:");
    if (skip || pattern.starts_with("+:")) pattern.remove_prefix(2);
    Override o{ModuleRegex(pattern, path_), {}};
    if (!skip) o.scheme = scheme_from(files::ConfigReader(overrides.object(key), path_), &*gptq_);
    overrides_.push_back(std::move(o));
  }
}

std::optional<Scheme> QuantizationConfig::scheme(const std::string& module,
                                                 const spec::Linear& linear) const {
  if (method_ == "gptq") {
    for (const Override& o : overrides_)
      if (o.regex.matches(module)) return o.scheme;
    if (linear.role == spec::Role::head && !gptq_head_) return {};
    return gptq_;
  }
  // Precedence: exact name, then pattern, then class; `ignore` wins over all of them.
  const auto class_name = linear.weight.transposed ? "Conv1D" : "Linear";
  enum { exact, pattern, by_class };
  const auto matches = [&](const Target& t, int kind) {
    if (t.regex) return kind == pattern && t.regex->matches(module);
    return kind == exact ? t.name == module : kind == by_class && t.name == class_name;
  };
  for (const int kind : {exact, pattern, by_class})
    for (const Target& t : ignore_)
      if (matches(t, kind)) return {};
  for (const int kind : {exact, pattern, by_class})
    for (const Group& g : groups_)
      for (const Target& t : g.targets)
        if (matches(t, kind)) return g.scheme;
  return {};
}

}  // namespace halftone::pack
