#include "halftone/files/hub.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "halftone/files/memory_file.h"
#include "halftone/files/model_folder.h"
#include "halftone/files/safetensors.h"
#include "halftone/files/test_files.h"
#include "halftone/files/test_server.h"

namespace halftone::files {
namespace {
using namespace testing_files;

const std::string kCommit(40, 'c');

std::string sha256(const std::string& bytes) {
  return file_sha256(MemoryFile(std::as_bytes(std::span(bytes)), ""));
}

std::string tensor_file(const std::string& name, int64_t n) {
  TempFolder folder;
  HostTensor t(DType::f32, {n});
  for (int64_t i = 0; i < n; ++i) t.as<float>()[static_cast<size_t>(i)] = static_cast<float>(i);
  write_safetensors(folder.env(), folder.in("m"), {{name, &t}});
  return folder.read("m");
}

// A hub on one port that sends large files to a content server on another, as the real one does.
class HubTest : public testing::Test {
 protected:
  HubTest() {
    ::setenv("no_proxy", "127.0.0.1", 1);
    settings.cache = folder.in("hub");
    settings.retry_pause_ms = 1;
    settings.token = "hf_secret";
    hub.emplace([this](const TestRequest& r) { return answer(r); });
    content.emplace([this](const TestRequest& r) { return serve_content(r); });
    settings.endpoint = hub->url();
    large = tensor_file("w", 5000);
    small["config.json"] = "{\"model_type\":\"llama\"}";
    small["tokenizer.json"] = "{}";
  }

  TestResponse answer(const TestRequest& r) {
    if (override_hub) {
      if (auto response = override_hub(r)) return *response;
    }
    const std::string prefix = "/org/name/resolve/";
    if (!r.path.starts_with(prefix)) return {404, {{"X-Error-Code", "RepoNotFound"}}, "", {}, {}};
    const auto slash = r.path.find('/', prefix.size());
    const std::string revision = r.path.substr(prefix.size(), slash - prefix.size()),
                      file = r.path.substr(slash + 1);
    if (revision != "main" && revision != kCommit)
      return {404, {{"X-Error-Code", "RevisionNotFound"}}, "", {}, {}};
    if (const auto it = small.find(file); it != small.end())
      return {200,
              {{"X-Repo-Commit", kCommit},
               {"ETag", "W/\"" + std::string(39, 'e') + std::to_string(file.size() % 10) + "\""}},
              it->second,
              {},
              {}};
    if (file == large_name)
      return {302,
              {{"X-Repo-Commit", kCommit},
               {"X-Linked-Etag", "\"" + announced_sha.value_or(sha256(large)) + "\""},
               {"X-Linked-Size", std::to_string(announced_size.value_or(large.size()))},
               {"Location", content->url() + "/blob?sig=1"}},
              "",
              {},
              {}};
    return {404, {{"X-Repo-Commit", kCommit}, {"X-Error-Code", "EntryNotFound"}}, "", {}, {}};
  }

  TestResponse serve_content(const TestRequest& r) {
    if (override_content) {
      if (auto response = override_content(r)) return *response;
    }
    return ranged(r);
  }
  TestResponse ranged(const TestRequest& r) const {
    const auto range = r.headers.find("range");
    if (range == r.headers.end()) return {200, {}, large, {}, {}};
    const size_t from = std::stoul(range->second.substr(6));
    if (from >= large.size()) return {416, {}, "", {}, {}};
    return {206,
            {{"Content-Range", "bytes " + std::to_string(from) + "-" +
                                   std::to_string(large.size() - 1) + "/" +
                                   std::to_string(large.size())}},
            large.substr(from),
            {},
            {}};
  }

  std::string root() const { return join_path(settings.cache, "models--org--name"); }
  std::string blob() const { return join_path(root(), "blobs/" + sha256(large)); }
  std::string download() { return download_model(repo, settings, folder.context); }
  bool exists(const std::string& path) { return folder.env().stat(path).has_value(); }

  TempFolder folder;
  HubSettings settings;
  HubRepo repo{.name = "org/name"};
  std::map<std::string, std::string> small;
  std::string large, large_name = "model.safetensors";
  std::optional<std::string> announced_sha;
  std::optional<uint64_t> announced_size;
  std::function<std::optional<TestResponse>(const TestRequest&)> override_hub, override_content;
  std::optional<LoopbackServer> hub, content;
};

TEST_F(HubTest, AModelLandsInTheUsualLayout) {
  std::vector<double> done;
  folder.context.progress = [&](const Progress& p) {
    EXPECT_EQ(p.unit, "B");
    if (p.detail == "model.safetensors") done.push_back(p.done);
  };
  const std::string snapshot = download();
  EXPECT_EQ(snapshot, join_path(root(), "snapshots/" + kCommit));
  EXPECT_EQ(open_tensors(snapshot, folder.context)->read("w").as<float>()[4999], 4999.0f);
  EXPECT_EQ(folder.env().read_text(join_path(root(), "refs/main"), 100), kCommit);
  EXPECT_EQ(std::filesystem::read_symlink(join_path(snapshot, "model.safetensors")).string(),
            "../../blobs/" + sha256(large));
  EXPECT_TRUE(exists(join_path(root(), ".no_exist/" + kCommit + "/vocab.json")));
  EXPECT_FALSE(exists(join_path(snapshot, "vocab.json")));
  EXPECT_TRUE(
      exists(join_path(settings.cache, ".locks/models--org--name/" + sha256(large) + ".lock")));
  EXPECT_EQ(cached_snapshot(repo, settings, folder.env()), snapshot);
  ASSERT_FALSE(done.empty());
  EXPECT_EQ(done.back(), static_cast<double>(large.size()));
  // Again: one question whether main has moved, nothing else.
  const size_t before = hub->requests().size();
  EXPECT_EQ(download(), snapshot);
  EXPECT_EQ(hub->requests().size(), before + 1);
  EXPECT_EQ(content->requests().size(), 1u);
}

TEST_F(HubTest, TheTokenStaysAtHome) {
  download();
  ASSERT_FALSE(hub->requests().empty());
  for (const auto& r : hub->requests())
    EXPECT_EQ(r.headers.at("authorization"), "Bearer hf_secret");
  ASSERT_EQ(content->requests().size(), 1u);
  for (const auto& r : content->requests()) EXPECT_EQ(r.headers.count("authorization"), 0u);
}

TEST_F(HubTest, RedirectsWithinTheEndpointAreFollowed) {
  override_hub = [&](const TestRequest& r) -> std::optional<TestResponse> {
    if (r.path == "/org/name/resolve/main/config.json" ||
        r.path == "/org/name/resolve/" + kCommit + "/config.json")
      return TestResponse{
          307,
          {{"Location", "/api/resolve-cache/config.json"}, {"X-Repo-Commit", kCommit}},
          "",
          {},
          {}};
    if (r.path == "/api/resolve-cache/config.json")
      return TestResponse{200, {{"ETag", "\"abc\""}}, "{\"a\":1}", {}, {}};
    return std::nullopt;
  };
  EXPECT_EQ(
      folder.env().read_text(*download_file(repo, "config.json", settings, folder.context), 100),
      "{\"a\":1}");
}

TEST_F(HubTest, ACutDownloadGoesOnWhereItStopped) {
  int calls = 0;
  override_content = [&](const TestRequest& r) -> std::optional<TestResponse> {
    TestResponse response = ranged(r);
    if (++calls <= 2) response.cut = 6000;
    return response;
  };
  const std::string snapshot = download();
  EXPECT_EQ(folder.env().read_text(join_path(snapshot, "model.safetensors"), 1 << 20), large);
  const auto requests = content->requests();
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].headers.count("range"), 0u);
  EXPECT_EQ(requests[1].headers.at("range"), "bytes=6000-");
  EXPECT_EQ(requests[2].headers.at("range"), "bytes=12000-");
}

TEST_F(HubTest, ALaterRunGoesOnToo) {
  int calls = 0;
  override_content = [&](const TestRequest& r) -> std::optional<TestResponse> {
    if (++calls > 1) return TestResponse{0, {}, "", {}, {}};
    TestResponse response = ranged(r);
    response.cut = 7000;
    return response;
  };
  EXPECT_EQ(code_of([&] { download(); }), Code::io);
  EXPECT_EQ(folder.env().stat(blob() + ".incomplete")->size, 7000u);
  EXPECT_FALSE(exists(blob()));
  EXPECT_FALSE(exists(join_path(root(), "refs/main")));
  override_content = nullptr;
  const size_t before = content->requests().size();
  EXPECT_EQ(open_tensors(download(), folder.context)->tensors().size(), 1u);
  EXPECT_EQ(content->requests().at(before).headers.at("range"), "bytes=7000-");
}

TEST_F(HubTest, AServerWithoutRangesSendsAllAgain) {
  folder.env().make_directories(join_path(root(), "blobs"));
  folder.write("hub/models--org--name/blobs/" + sha256(large) + ".incomplete", "garbage");
  override_content = [&](const TestRequest&) { return TestResponse{200, {}, large, {}, {}}; };
  EXPECT_EQ(open_tensors(download(), folder.context)->tensors().size(), 1u);
}

TEST_F(HubTest, DamageIsNoticedAndNothingIsKept) {
  const auto refused = [&](Code want) {
    EXPECT_EQ(code_of([&] { download(); }), want);
    EXPECT_FALSE(exists(blob()));
    EXPECT_FALSE(exists(blob() + ".incomplete"));
    EXPECT_FALSE(exists(join_path(root(), "snapshots/" + kCommit + "/model.safetensors")));
    EXPECT_FALSE(exists(join_path(root(), "refs/main")));
  };
  announced_size = large.size() + 10;  // fewer bytes than announced
  refused(Code::mismatch);
  announced_size = large.size() - 10;  // more
  refused(Code::mismatch);
  announced_size.reset();
  std::string flipped = large;
  flipped[flipped.size() / 2] ^= 1;
  override_content = [&](const TestRequest&) { return TestResponse{200, {}, flipped, {}, {}}; };
  EXPECT_THAT(line_of([&] { download(); }),
              testing::HasSubstr("\"model.safetensors\" arrived damaged: its SHA-256 differs"));
  refused(Code::mismatch);
  // A resumed part that does not belong: the checksum is over the whole file.
  override_content = nullptr;
  folder.write("hub/models--org--name/blobs/" + sha256(large) + ".incomplete", "garbage");
  refused(Code::mismatch);
  EXPECT_EQ(open_tensors(download(), folder.context)->tensors().size(), 1u);
}

TEST_F(HubTest, AWrongPartIsRefused) {
  folder.env().make_directories(join_path(root(), "blobs"));
  folder.write("hub/models--org--name/blobs/" + sha256(large) + ".incomplete",
               large.substr(0, 100));
  override_content = [&](const TestRequest&) {
    return TestResponse{206, {{"Content-Range", "bytes 0-99/100"}}, large, {}, {}};
  };
  EXPECT_EQ(code_of([&] { download(); }), Code::mismatch);
}

TEST_F(HubTest, RefusalsOfTheHubAreExplained) {
  const auto line = [&] { return line_of([&] { download(); }); };
  repo.name = "org/other";
  EXPECT_THAT(line(), testing::HasSubstr("no such repository, or it is private; check the name"));
  repo.name = "org/name";
  repo.revision = "v9";
  EXPECT_THAT(line(), testing::HasSubstr("has no revision \"v9\""));
  repo.revision = "main";
  small.erase("config.json");
  EXPECT_THAT(line(), testing::HasSubstr("has no config.json"));
  const auto status = [&](int code, const std::string& why) {
    override_hub = [=](const TestRequest&) {
      return TestResponse{code, {{"X-Error-Code", why}}, "", {}, {}};
    };
    return line();
  };
  EXPECT_THAT(status(403, "GatedRepo"),
              testing::HasSubstr(
                  "its owner asks for an agreement first; the token in use has no access to it"));
  EXPECT_THAT(status(401, ""), testing::HasSubstr("the hub refuses access"));
  EXPECT_THAT(status(500, ""), testing::StartsWith("error[E_IO]"));
  for (const auto& text : {status(403, ""), status(404, ""), status(500, "")})
    EXPECT_EQ(text.find("hf_secret"), std::string::npos);
}

TEST_F(HubTest, HostileAnswersAreRefused) {
  const auto headers = [&](const std::vector<std::pair<std::string, std::string>>& h,
                           int status = 200) {
    override_hub = [=](const TestRequest&) { return TestResponse{status, h, "x", {}, {}}; };
    return code_of([&] { download(); });
  };
  EXPECT_EQ(headers({{"X-Repo-Commit", kCommit}, {"ETag", "\"../../../x\""}}), Code::path);
  EXPECT_EQ(headers({{"X-Repo-Commit", kCommit}, {"ETag", "\"..\""}}), Code::path);
  EXPECT_EQ(headers({{"X-Repo-Commit", kCommit}}), Code::path);
  EXPECT_EQ(headers({{"X-Repo-Commit", "../" + kCommit}, {"ETag", "\"a\""}}), Code::missing);
  EXPECT_EQ(headers({{"Location", hub->url() + "/again"}}, 302), Code::value);
  override_hub = nullptr;
  override_content = [](const TestRequest&) {
    return TestResponse{302, {{"Location", "file:///etc/passwd"}}, "", {}, {}};
  };
  EXPECT_EQ(code_of([&] { download(); }), Code::unsafe);
  override_content = nullptr;
  large_name = "none";
  small["model.safetensors.index.json"] = R"({"weight_map":{"w":"../../x"}})";
  EXPECT_EQ(code_of([&] { download(); }), Code::path);
}

TEST_F(HubTest, ShardsFollowTheIndex) {
  large_name = "model-00001-of-00001.safetensors";
  small["model.safetensors.index.json"] =
      R"({"weight_map":{"w":"model-00001-of-00001.safetensors"}})";
  EXPECT_EQ(open_tensors(download(), folder.context)->read("w").count(), 5000);
  EXPECT_EQ(hub->count("HEAD", "pytorch_model"), 0);
}

TEST_F(HubTest, OfflineNeverTouchesTheNetwork) {
  settings.offline = true;
  EXPECT_THAT(line_of([&] { download(); }),
              testing::HasSubstr("HF_HUB_OFFLINE forbids asking the hub"));
  EXPECT_TRUE(hub->requests().empty());
  settings.offline = false;
  const std::string snapshot = download();
  settings.offline = true;
  const size_t before = hub->requests().size();
  EXPECT_EQ(download(), snapshot);
  EXPECT_EQ(hub->requests().size(), before);
}

TEST_F(HubTest, AnUnreachableHubFallsBackToTheCacheAndSaysSo) {
  const std::string snapshot = download();
  {
    LoopbackServer closed;  // its port answers nobody once it is gone
    settings.endpoint = closed.url();
  }
  EXPECT_EQ(download(), snapshot);
  EXPECT_THAT(folder.log, testing::HasSubstr("the hub does not answer"));
  settings.cache = folder.in("empty");
  EXPECT_EQ(code_of([&] { download(); }), Code::io);
}

TEST_F(HubTest, AFullDiskLeavesNoFileUnderItsName) {
  auto faulty = fault_env(folder.env(), [&](std::string_view op, const std::string& path) {
    return op == "write" && path.find(sha256(large)) != std::string::npos ? ENOSPC : 0;
  });
  Context context = folder.context;
  context.env = faulty.get();
  EXPECT_EQ(code_of([&] { download_model(repo, settings, context); }), Code::io);
  EXPECT_FALSE(exists(blob()));
  EXPECT_EQ(open_tensors(download(), folder.context)->tensors().size(), 1u);
}

TEST_F(HubTest, StopIsObeyed) {
  std::atomic<bool> stop{false};
  folder.context.stop = &stop;
  override_content = [&](const TestRequest& r) -> std::optional<TestResponse> {
    stop = true;
    return ranged(r);
  };
  EXPECT_EQ(code_of([&] { download(); }), Code::interrupted);
  EXPECT_FALSE(exists(blob()));
}

TEST_F(HubTest, TwoProcessesDownloadAFileOnce) {
  // Fresh servers, so that the children are forked before any thread of theirs exists; connections
  // wait in the backlog.
  hub.reset();
  content.reset();
  hub.emplace();
  content.emplace();
  settings.endpoint = hub->url();
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      int status = 1;
      try {
        const std::string snapshot = download();
        status =
            open_tensors(snapshot, folder.context)->read("w").as<float>()[4999] == 4999.0f ? 0 : 2;
      } catch (const Error& e) {
        std::fprintf(stderr, "%s\n", e.what());
      }
      ::_exit(status);
    }
    children.push_back(pid);
  }
  hub->start([this](const TestRequest& r) { return answer(r); });
  content->start([this](const TestRequest& r) { return serve_content(r); });
  for (const pid_t pid : children) {
    int status = -1;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_EQ(content->count("GET", "/blob"), 1);
}

TEST(Sha256, EqualsThePublishedVectors) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace halftone::files
