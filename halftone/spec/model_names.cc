#include "halftone/spec/model_names.h"

#include <algorithm>
#include <cstdlib>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/files/hub_cache.h"

namespace halftone::spec {
namespace {
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

constexpr std::string_view kPart = "-00000-of-00000.gguf";  // of a split, digits for the zeros
bool is_part_of_a_split(std::string_view name) {
  return name.size() > kPart.size() &&
         std::equal(
             kPart.begin(), kPart.end(), name.end() - std::ssize(kPart),
             [](char like, char c) { return like == '0' ? c >= '0' && c <= '9' : like == c; });
}

}  // namespace

std::string cache_folder() {
  if (const std::string own = environment("HALFTONE_CACHE"); !own.empty()) return own;
  if (const std::string xdg = environment("XDG_CACHE_HOME"); !xdg.empty())
    return join_path(xdg, "halftone");
  return join_path(environment("HOME"), ".cache/halftone");
}

const std::vector<NamedModel>& named_models() {
  static const std::vector<NamedModel> models = {
      {"smollm2", "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
       "run ./setup once: it puts the default model into the cache"},
      {"smollm2-fp", "smollm2-fp", "run: halftone pull smollm2-fp"},
  };
  return models;
}

std::string resolve_model(const std::string& model, const Context& context) {
  if (context.env->stat(model)) return model;
  for (const NamedModel& named : named_models()) {
    if (named.name != model) continue;
    const std::string path = join_path(cache_folder(), named.path);
    if (context.env->stat(path)) return path;
    throw FileError(Code::missing, path, "the model " + named.name + " is not in the cache", {},
                    named.remedy);
  }
  if (const auto repository = files::parse_hub_repo(model)) {
    const files::HubSettings settings = files::hub_settings(*context.env);
    if (const auto folder = files::cached_snapshot(*repository, settings, *context.env))
      return *folder;
    // A bare word is more likely a slip than one of the hub's few names without an owner.
    if (model.find('/') != std::string::npos)
      throw FileError(Code::missing, model,
                      "is neither a path here nor in the hub cache " + settings.cache, {},
                      "run: halftone pull " + model);
  }
  throw FileError(
      Code::missing, model, "no such file or folder, and no model of that name", {},
      "known names: " + listed(named_models(), [](const NamedModel& named) { return named.name; }));
}

std::vector<std::string> model_files(Env& env, const std::string& path) {
  std::vector<std::string> out;
  const auto take = [&](const std::string& folder, const auto& belongs) {
    for (const std::string& name : env.list(folder)) {
      const std::string file = join_path(folder, name);
      if (!belongs(name)) continue;
      if (const auto info = env.stat(file); info && info->is_regular) out.push_back(file);
    }
  };
  const auto info = env.stat(path);
  if (!info) return out;
  if (info->is_directory) {
    take(path,
         [](const std::string& name) { return !name.starts_with('.') && name != "measured.json"; });
    return out;
  }
  const std::string own = file_name(path);
  if (!is_part_of_a_split(own)) return {path};
  const std::string stem = own.substr(0, own.size() - kPart.size()),
                    count = own.substr(own.size() - kPart.size() + 6);  // "-of-00003.gguf"
  take(parent_path(path), [&](const std::string& name) {
    return name.size() == own.size() && is_part_of_a_split(name) && name.starts_with(stem) &&
           name.ends_with(count);
  });
  return out;
}

}  // namespace halftone::spec
