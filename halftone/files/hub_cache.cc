#include "halftone/files/hub_cache.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "halftone/base/error.h"

namespace halftone::files {
namespace {

std::string trimmed(std::string text) {
  const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
  text.erase(std::find_if_not(text.rbegin(), text.rend(), space).base(), text.end());
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), space));
  return text;
}

bool is_true(const std::optional<std::string>& value) {
  if (!value) return false;
  std::string upper = *value;
  std::transform(upper.begin(), upper.end(), upper.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return upper == "1" || upper == "ON" || upper == "YES" || upper == "TRUE";
}

std::string user_home(const Environment& environment) { return environment("HOME").value_or("/"); }

std::string expanded(const std::string& path, const Environment& environment) {
  return path == "~" || path.starts_with("~/") ? user_home(environment) + path.substr(1) : path;
}

std::string hub_home(const Environment& environment) {
  if (const auto home = environment("HF_HOME")) return expanded(*home, environment);
  const std::string cache =
      environment("XDG_CACHE_HOME").value_or(join_path(user_home(environment), ".cache"));
  return expanded(join_path(cache, "huggingface"), environment);
}

// One part of a repository's name, by the hub's own rules.
bool is_name_part(std::string_view part) {
  if (part.empty() || part.size() > 96) return false;
  if (part.find("--") != std::string_view::npos || part.find("..") != std::string_view::npos)
    return false;
  if (std::string_view("-.").find(part.front()) != std::string_view::npos ||
      std::string_view("-.").find(part.back()) != std::string_view::npos)
    return false;
  return std::all_of(part.begin(), part.end(), [](unsigned char c) {
    return std::isalnum(c) || c == '-' || c == '_' || c == '.';
  });
}

}  // namespace

std::optional<std::string> process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return std::string(value);
}

std::string hub_cache_folder(const Environment& environment) {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const auto own = environment(name)) return expanded(*own, environment);
  return join_path(hub_home(environment), "hub");
}

HubSettings hub_settings(Env& env, const Environment& environment) {
  HubSettings settings;
  settings.cache = hub_cache_folder(environment);
  if (auto endpoint = environment("HF_ENDPOINT")) {
    while (endpoint->ends_with('/')) endpoint->pop_back();
    if (!endpoint->starts_with("https://") && !endpoint->starts_with("http://"))
      throw InputError("HF_ENDPOINT", "is " + quote(*endpoint),
                       "it must begin with https:// or http://");
    settings.endpoint = *endpoint;
  }
  if (const auto token = environment("HF_TOKEN")) {
    settings.token = trimmed(*token);
  } else if (!is_true(environment("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) {
    const std::string path =
        expanded(environment("HF_TOKEN_PATH").value_or(join_path(hub_home(environment), "token")),
                 environment);
    const auto info = env.stat(path);
    if (info && info->is_regular) settings.token = trimmed(env.read_text(path, 4096));
  }
  // A token becomes a header line: nothing that could end one.
  if (std::any_of(settings.token.begin(), settings.token.end(),
                  [](unsigned char c) { return c <= 0x20 || c >= 0x7f; }))
    throw InputError("HF_TOKEN", "holds a space or a control character");
  settings.offline =
      is_true(environment("HF_HUB_OFFLINE")) || is_true(environment("TRANSFORMERS_OFFLINE"));
  return settings;
}

std::optional<HubRepo> parse_hub_repo(std::string_view text) {
  HubRepo repo;
  const auto at = text.find('@');
  if (at != std::string_view::npos) {
    repo.revision = text.substr(at + 1);
    text = text.substr(0, at);
    if (!is_repo_file(repo.revision) || repo.revision.size() > 128) return std::nullopt;
  }
  const auto slash = text.find('/');
  const bool good = slash == std::string_view::npos ? is_name_part(text)
                                                    : is_name_part(text.substr(0, slash)) &&
                                                          is_name_part(text.substr(slash + 1));
  if (!good) return std::nullopt;
  repo.name = text;
  return repo;
}

bool is_repo_file(std::string_view file) {
  if (file.empty() || file.size() > 1024 || file.starts_with('/')) return false;
  if (std::any_of(file.begin(), file.end(),
                  [](unsigned char c) { return c < 0x20 || c == '\\' || c == ':' || c == 0x7f; }))
    return false;
  for (size_t begin = 0; begin <= file.size();) {
    const size_t end = std::min(file.find('/', begin), file.size());
    const std::string_view part = file.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

bool is_commit(std::string_view text) {
  return text.size() == 40 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string repo_folder(const HubRepo& repo, const HubSettings& settings) {
  std::string name = repo.kind == HubRepo::Kind::model ? "models--" : "datasets--";
  for (const char c : repo.name) name += c == '/' ? std::string("--") : std::string(1, c);
  return join_path(settings.cache, name);
}

std::optional<std::string> cached_commit(const HubRepo& repo, const HubSettings& settings,
                                         Env& env) {
  const std::string folder = repo_folder(repo, settings);
  const std::string ref = join_path(join_path(folder, "refs"), repo.revision);
  const auto info = env.stat(ref);
  if (info && info->is_regular) {
    std::string commit = trimmed(env.read_text(ref, 256));
    if (!is_commit(commit))
      throw FileError(Code::value, ref, "does not hold a commit", {},
                      "remove it and download the " +
                          std::string(repo.kind == HubRepo::Kind::model ? "model" : "data set") +
                          " again");
    return commit;
  }
  if (is_commit(repo.revision) &&
      env.stat(join_path(join_path(folder, "snapshots"), repo.revision)))
    return repo.revision;
  return std::nullopt;
}

std::optional<std::string> cached_snapshot(const HubRepo& repo, const HubSettings& settings,
                                           Env& env) {
  const auto commit = cached_commit(repo, settings, env);
  if (!commit) return std::nullopt;
  std::string path = join_path(join_path(repo_folder(repo, settings), "snapshots"), *commit);
  const auto info = env.stat(path);
  if (!info || !info->is_directory) return std::nullopt;
  return path;
}

CachedFile cached_file(const HubRepo& repo, const std::string& commit, const std::string& file,
                       const HubSettings& settings, Env& env) {
  const std::string folder = repo_folder(repo, settings);
  const auto info = env.stat(join_path(join_path(join_path(folder, "snapshots"), commit), file));
  if (info && info->is_regular) return CachedFile::present;
  if (env.stat(join_path(join_path(join_path(folder, ".no_exist"), commit), file)))
    return CachedFile::known_absent;
  return CachedFile::unknown;
}

}  // namespace halftone::files
