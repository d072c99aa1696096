#include "halftone/files/hub_cache.h"

#include <gtest/gtest.h>

#include <map>

#include "halftone/files/test_files.h"

namespace halftone::files {
namespace {
using namespace testing_files;

HubSettings settings_of(Env& env, std::map<std::string, std::string> variables) {
  return hub_settings(
      env,
      [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
        const auto it = variables.find(name);
        if (it == variables.end()) return std::nullopt;
        return it->second;
      });
}

TEST(HubSettings, FollowTheEnvironmentAsHuggingFaceDoes) {
  TempFolder folder;
  Env& env = folder.env();
  EXPECT_EQ(settings_of(env, {{"HOME", "/home/u"}}).cache, "/home/u/.cache/huggingface/hub");
  EXPECT_EQ(settings_of(env, {{"HOME", "/home/u"}, {"XDG_CACHE_HOME", "/x"}}).cache,
            "/x/huggingface/hub");
  EXPECT_EQ(
      settings_of(env, {{"HOME", "/home/u"}, {"XDG_CACHE_HOME", "/x"}, {"HF_HOME", "~/hf"}}).cache,
      "/home/u/hf/hub");
  EXPECT_EQ(settings_of(env, {{"HF_HOME", "/h"}, {"HUGGINGFACE_HUB_CACHE", "/old"}}).cache, "/old");
  EXPECT_EQ(settings_of(env, {{"HUGGINGFACE_HUB_CACHE", "/old"}, {"HF_HUB_CACHE", "/new"}}).cache,
            "/new");
  EXPECT_EQ(settings_of(env, {}).endpoint, "https://huggingface.co");
  EXPECT_EQ(settings_of(env, {{"HF_ENDPOINT", "https://mirror.example/"}}).endpoint,
            "https://mirror.example");
  EXPECT_EQ(code_of([&] { settings_of(env, {{"HF_ENDPOINT", "file:///etc"}}); }), Code::usage);
  EXPECT_FALSE(settings_of(env, {}).offline);
  for (const char* yes : {"1", "on", "Yes", "TRUE"})
    EXPECT_TRUE(settings_of(env, {{"HF_HUB_OFFLINE", yes}}).offline);
  EXPECT_FALSE(settings_of(env, {{"HF_HUB_OFFLINE", "0"}}).offline);
  EXPECT_TRUE(settings_of(env, {{"TRANSFORMERS_OFFLINE", "1"}}).offline);
}

TEST(HubSettings, TokensComeFromTheVariableOrTheFile) {
  TempFolder folder;
  Env& env = folder.env();
  folder.write("token", " hf_file\n");
  folder.write("other", "hf_other\n");
  EXPECT_EQ(settings_of(env, {{"HF_HOME", folder.path()}}).token, "hf_file");
  EXPECT_EQ(settings_of(env, {{"HF_HOME", folder.path()}, {"HF_TOKEN", "hf_env"}}).token, "hf_env");
  EXPECT_EQ(
      settings_of(env, {{"HF_HOME", folder.path()}, {"HF_TOKEN_PATH", folder.in("other")}}).token,
      "hf_other");
  EXPECT_EQ(
      settings_of(env, {{"HF_HOME", folder.path()}, {"HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"}}).token,
      "");
  EXPECT_EQ(settings_of(env, {{"HF_HOME", folder.in("absent")}}).token, "");
  EXPECT_EQ(code_of([&] { settings_of(env, {{"HF_TOKEN", "hf\r\nX-Evil: 1"}}); }), Code::usage);
}

TEST(HubRepo, NamesAreToldFromPaths) {
  EXPECT_EQ(parse_hub_repo("org/name")->name, "org/name");
  EXPECT_EQ(parse_hub_repo("gpt2")->revision, "main");
  EXPECT_EQ(parse_hub_repo("org/name@refs/pr/1")->revision, "refs/pr/1");
  EXPECT_EQ(parse_hub_repo("Org-1/na_me.v2@v1.0")->name, "Org-1/na_me.v2");
  for (const char* bad : {"", "/abs/path", "./rel", "../up", "a/b/c", "a//b", "a/", "-a/b", "a/b.",
                          "a/b--c", "a/..", "a b", "a/b@", "a/b@../x", "a/b@/x", "a\\b"})
    EXPECT_FALSE(parse_hub_repo(bad)) << bad;
  EXPECT_TRUE(is_repo_file("sub/file.json"));
  for (const char* bad : {"", "/a", "a/../b", "..", "a//b", "a/", "a\\b", "C:a", "a\nb"})
    EXPECT_FALSE(is_repo_file(bad)) << bad;
}

TEST(HubCache, ResolvesBranchesCommitsAndMarkers) {
  TempFolder folder;
  Env& env = folder.env();
  HubSettings settings;
  settings.cache = folder.in("hub");
  const std::string commit(40, 'a'), other(40, 'b');
  HubRepo repo{.name = "org/name"};
  EXPECT_FALSE(cached_snapshot(repo, settings, env));
  const std::string root = folder.in("hub/models--org--name");
  EXPECT_EQ(repo_folder(repo, settings), root);
  EXPECT_EQ(repo_folder({.kind = HubRepo::Kind::dataset, .name = "squad"}, settings),
            folder.in("hub/datasets--squad"));
  for (const std::string& sub :
       {std::string("refs/refs/pr"), "snapshots/" + commit, ".no_exist/" + commit})
    env.make_directories(join_path(root, sub));
  folder.write("hub/models--org--name/refs/main", commit + "\n");
  folder.write("hub/models--org--name/refs/refs/pr/1", commit);
  folder.write("hub/models--org--name/refs/bad", "../../etc");
  folder.write("hub/models--org--name/snapshots/" + commit + "/config.json", "{}");
  folder.write("hub/models--org--name/.no_exist/" + commit + "/absent.json", "");
  EXPECT_EQ(cached_snapshot(repo, settings, env), root + "/snapshots/" + commit);
  repo.revision = "refs/pr/1";
  EXPECT_EQ(cached_commit(repo, settings, env), commit);
  repo.revision = commit;
  EXPECT_EQ(cached_commit(repo, settings, env), commit);
  repo.revision = other;
  EXPECT_FALSE(cached_commit(repo, settings, env));
  repo.revision = "bad";
  EXPECT_EQ(code_of([&] { cached_commit(repo, settings, env); }), Code::value);
  EXPECT_EQ(cached_file(repo, commit, "config.json", settings, env), CachedFile::present);
  EXPECT_EQ(cached_file(repo, commit, "absent.json", settings, env), CachedFile::known_absent);
  EXPECT_EQ(cached_file(repo, commit, "tokenizer.json", settings, env), CachedFile::unknown);
}

}  // namespace
}  // namespace halftone::files
