// The local cache of the Hugging Face hub, as huggingface_hub lays it out: names -> folders,
// without any network. The same for models and data sets.
//
//   HUB/models--ORG--NAME/refs/main                   the commit of a branch or tag (datasets--...)
//   HUB/models--ORG--NAME/snapshots/COMMIT/file       -> ../../blobs/ETAG
//   HUB/models--ORG--NAME/.no_exist/COMMIT/file       known not to exist
//
// Downloading lives in hub.h, a target of its own (halftone::hub) because it needs libcurl.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "halftone/base/env.h"

namespace halftone::files {

struct HubSettings {
  std::string cache;                                // HUB
  std::string endpoint = "https://huggingface.co";  // without a slash at the end
  std::string token;                                // empty: none. Never printed.
  bool offline = false;
  int64_t retry_pause_ms = 200;  // before the second attempt; doubles
};

using Environment = std::function<std::optional<std::string>(const std::string& name)>;
std::optional<std::string> process_environment(const std::string& name);  // empty when unset or ""

// HUB, out of HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME; `~` is the home folder.
std::string hub_cache_folder(const Environment& environment = process_environment);
// The cache as above; HF_ENDPOINT; HF_TOKEN,
// HF_TOKEN_PATH, $HF_HOME/token unless HF_HUB_DISABLE_IMPLICIT_TOKEN; HF_HUB_OFFLINE,
// TRANSFORMERS_OFFLINE. InputError for an endpoint that is no http(s) address.
HubSettings hub_settings(Env& env, const Environment& environment = process_environment);

struct HubRepo {
  enum class Kind : uint8_t { model, dataset } kind = Kind::model;
  std::string name;               // "org/name" or "gpt2"
  std::string revision = "main";  // branch, tag or commit
};
// "org/name" or "org/name@revision"; empty when the text is no name of a repository (a path, for
// one).
std::optional<HubRepo> parse_hub_repo(std::string_view text);
// A file inside a repository: relative, no "..", no empty part.
bool is_repo_file(std::string_view file);
bool is_commit(std::string_view text);  // 40 lower-case hex digits

std::string repo_folder(const HubRepo& repo, const HubSettings& settings);  // HUB/models--org--name
// The commit that the cache has for the revision.
std::optional<std::string> cached_commit(const HubRepo& repo, const HubSettings& settings,
                                         Env& env);
// HUB/.../snapshots/COMMIT, when it exists. It may hold some of the repository's files only.
std::optional<std::string> cached_snapshot(const HubRepo& repo, const HubSettings& settings,
                                           Env& env);

enum class CachedFile : uint8_t { unknown, present, known_absent };
CachedFile cached_file(const HubRepo& repo, const std::string& commit, const std::string& file,
                       const HubSettings& settings, Env& env);

}  // namespace halftone::files
