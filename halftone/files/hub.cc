#include "halftone/files/hub.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <set>
#include <thread>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/json.h"
#include "halftone/files/http_client.h"
#include "halftone/files/sharded.h"

namespace halftone::files {
namespace {

constexpr int kAttempts = 5;

std::string escaped(std::string_view path) {  // keeps slashes
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const char character : path) {
    const auto c = static_cast<unsigned char>(character);
    if (std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~' || c == '/') {
      out += static_cast<char>(c);
    } else {
      out += '%';
      out += kHex[c >> 4];
      out += kHex[c & 15];
    }
  }
  return out;
}

std::string without_quotes(std::string etag) {
  if (etag.starts_with("W/")) etag = etag.substr(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"')
    etag = etag.substr(1, etag.size() - 2);
  return etag;
}
bool is_sha256(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}
std::optional<uint64_t> as_size(const std::string& text) {
  if (text.empty() || text.size() > 18 ||
      !std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isdigit(c); }))
    return std::nullopt;
  return std::stoull(text);
}

// What a HEAD tells about a file.
struct Remote {
  bool exists = false;
  std::string commit, etag;
  std::optional<uint64_t> size;
};

class Session {
 public:
  Session(const HubRepo& repo, const HubSettings& settings, const Context& context)
      : repo_(repo),
        settings_(settings),
        context_(context),
        env_(*context.env),
        folder_(repo_folder(repo, settings)),
        offline_(settings.offline),
        http_(settings.endpoint, settings.token, context) {}

  bool offline() const { return offline_; }

  // The file's path in the snapshot; empty when the repository lacks it.
  std::optional<std::string> file(const std::string& name) {
    check(is_repo_file(name), "a plain file name is asked of the hub");
    if (offline_) return cached_only(name);
    if (!commit_.empty()) {  // the commit is known: nothing there can have changed
      if (const auto known = from_cache(name, commit_); known.first) return known.second;
    }
    const Remote remote = look(name);
    if (offline_) return cached_only(name);
    remember_commit(remote.commit);
    if (!remote.exists) {
      if (!commit_.empty())
        touch(join_path(join_path(join_path(folder_, ".no_exist"), commit_), name));
      return std::nullopt;
    }
    if (const auto known = from_cache(name, commit_); known.first && known.second)
      return known.second;
    fetch(name, remote);
    return link(name, remote.etag);
  }

  std::string snapshot() const { return join_path(join_path(folder_, "snapshots"), commit_); }
  // refs/REVISION, written last: the revision then resolves to a snapshot that has what was asked
  // for.
  void write_ref() {
    if (offline_ || repo_.revision == commit_ || commit_.empty()) return;
    const std::string ref = join_path(join_path(folder_, "refs"), repo_.revision);
    env_.make_directories(parent_path(ref));
    const std::string temporary =
        ref + ".tmp." + std::to_string(::getpid());  // others may write the same ref now
    const auto file = env_.create(temporary);
    file->write(commit_);
    file->sync();
    file->close();
    env_.rename(temporary, ref);
  }

 private:
  std::string where() const { return settings_.endpoint + "/" + repo_.name; }

  std::pair<bool, std::optional<std::string>> from_cache(const std::string& name,
                                                         const std::string& commit) {
    switch (cached_file(repo_, commit, name, settings_, env_)) {
      case CachedFile::present:
        return {true, join_path(join_path(join_path(folder_, "snapshots"), commit), name)};
      case CachedFile::known_absent:
        return {true, std::nullopt};
      case CachedFile::unknown:
        break;
    }
    return {false, std::nullopt};
  }

  std::optional<std::string> cached_only(const std::string& name) {
    if (commit_.empty()) {
      const auto commit = cached_commit(repo_, settings_, env_);
      if (!commit)
        throw FileError(Code::missing, repo_.name,
                        "is not in the cache " + settings_.cache +
                            ", and HF_HUB_OFFLINE forbids asking the hub",
                        {},
                        "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE, or name a local folder");
      commit_ = *commit;
    }
    return from_cache(name, commit_).second;
  }

  Remote look(const std::string& name) {
    const std::string revision = commit_.empty() ? repo_.revision : commit_;
    const std::string url = address(revision, name);
    HttpResponse r;
    for (int attempt = 1;; ++attempt) {
      r = http_.head(url);
      if ((r.status != 0 && r.status < 500 && r.status != 429) || attempt == kAttempts) break;
      pause(attempt);
    }
    if (r.status == 0) {
      if (commit_.empty() && cached_commit(repo_, settings_, env_)) {
        context_.warn("the hub does not answer (" + r.failure + "): using what the cache has of " +
                      repo_.name);
        offline_ = true;
        return {};
      }
      network_error(url, r);
    }
    const std::string code = r.headers["x-error-code"];
    Remote remote;
    if (is_commit(r.headers["x-repo-commit"])) remote.commit = r.headers["x-repo-commit"];
    if (r.status == 404) {
      if (code == "EntryNotFound" || (code.empty() && !(remote.commit.empty() && commit_.empty())))
        return remote;
      if (code == "RevisionNotFound")
        throw FileError(Code::missing, where(), "has no revision " + quote(repo_.revision));
      no_repository();
    }
    if (code == "RepoNotFound") no_repository();
    if (r.status == 401 || r.status == 403)
      throw FileError(
          Code::missing, where(),
          code == "GatedRepo" ? "its owner asks for an agreement first" : "the hub refuses access",
          {},
          settings_.token.empty() ? "accept the terms on its page and set HF_TOKEN"
                                  : "the token in use has no access to it");
    if (r.status >= 400)
      throw FileError(Code::io, where(), "the hub answers HTTP " + std::to_string(r.status), {},
                      "try again later");
    if (remote.commit.empty())
      throw FileError(Code::missing, where(), "the answer names no commit", {},
                      "is HF_ENDPOINT a Hugging Face hub?");
    remote.exists = true;
    remote.etag = without_quotes(r.headers.contains("x-linked-etag") ? r.headers["x-linked-etag"]
                                                                     : r.headers["etag"]);
    const bool plain = !remote.etag.empty() && remote.etag.size() <= 128 && remote.etag != "." &&
                       remote.etag != ".." &&
                       std::all_of(remote.etag.begin(), remote.etag.end(), [](unsigned char c) {
                         return std::isalnum(c) || c == '-' || c == '_' || c == '.';
                       });
    if (!plain)
      throw FileError(Code::path, url, "its ETag " + quote(remote.etag) + " cannot name a file");
    remote.size = as_size(r.headers["x-linked-size"]);
    if (!remote.size && r.status < 300) remote.size = as_size(r.headers["content-length"]);
    return remote;
  }

  void remember_commit(const std::string& commit) {
    if (commit.empty()) return;
    if (!commit_.empty() && commit != commit_)
      throw FileError(Code::mismatch, where(), "changed its commit while it was downloaded", {},
                      "run again");
    commit_ = commit;
  }

  // blobs/ETAG, complete and checked.
  void fetch(const std::string& name, const Remote& remote) {
    const std::string blob = join_path(join_path(folder_, "blobs"), remote.etag);
    if (whole(blob, remote)) return;
    const std::string locks = join_path(join_path(settings_.cache, ".locks"), file_name(folder_));
    env_.make_directories(locks);
    env_.make_directories(parent_path(blob));
    const auto lock = wait_for_lock(join_path(locks, remote.etag + ".lock"));
    if (whole(blob, remote)) return;  // another process was faster

    const std::string partial = blob + ".incomplete";
    const auto have = [&] {
      const auto info = env_.stat(partial);
      return info ? info->size : 0;
    };
    if (remote.size && have() > *remote.size) env_.remove(partial);
    if (remote.size) {
      const uint64_t need = *remote.size - have(), space = env_.free_space(parent_path(blob));
      if (need > space)
        throw FileError(Code::io, partial,
                        "needs " + std::to_string(need) + " bytes, the disk has " +
                            std::to_string(space) + " left",
                        {}, "free some space, or point HF_HUB_CACHE at a larger disk");
    }
    for (int attempt = 1; !remote.size || have() < *remote.size;) {
      const uint64_t before = have();
      const HttpResponse r = receive(name, partial, remote);
      const bool data = r.status == 200 || r.status == 206;
      if (data && r.complete) break;
      if (r.status == 416) env_.remove(partial);  // what is there is not the beginning of this file
      if (r.status >= 400 && r.status < 500 && r.status != 416 && r.status != 429)
        throw FileError(Code::io, where(),
                        "the hub answers HTTP " + std::to_string(r.status) + " for " + quote(name),
                        {}, "try again later");
      attempt = have() > before ? 1 : attempt + 1;  // progress: the patience starts anew
      if (attempt > kAttempts) {
        if (r.status == 0 || !r.complete) network_error(address(commit_, name), r);
        throw FileError(Code::io, where(), "the hub answers HTTP " + std::to_string(r.status), {},
                        "try again later: what was received is kept");
      }
      pause(attempt);
    }
    verify(name, partial, remote);
    env_.rename(partial, blob);
    env_.sync_directory(parent_path(blob));
  }

  bool whole(const std::string& blob, const Remote& remote) {
    const auto info = env_.stat(blob);
    return info && info->is_regular && (!remote.size || info->size == *remote.size);
  }

  HttpResponse receive(const std::string& name, const std::string& partial, const Remote& remote) {
    const auto info = env_.stat(partial);
    uint64_t done = info ? info->size : 0, other = 0;
    std::unique_ptr<WriteFile> out;
    const auto begin = [&](const HttpResponse& r) {
      if (r.status == 206) {
        // "bytes 100-199/200": it must go on where we stopped.
        const auto range = r.headers.find("content-range");
        if (range == r.headers.end() ||
            !range->second.starts_with("bytes " + std::to_string(done) + "-"))
          throw FileError(
              Code::mismatch, where(),
              "the server sends another part of " + quote(name) + " than was asked for");
      } else if (r.status == 200) {
        done = 0;  // the server sends all of it
      } else {
        return;
      }
      out = env_.create(partial, done != 0);
    };
    const auto data = [&](std::span<const std::byte> bytes) {
      if (!out) {  // the text of an error page
        other += bytes.size();
        if (other > 1 << 20)
          throw FileError(Code::limit, where(), "the server answers with an endless error page");
        return;
      }
      done += bytes.size();
      if (remote.size && done > *remote.size) {
        out.reset();
        env_.remove(partial);
        throw FileError(Code::mismatch, where(),
                        quote(name) + " is longer than the " + std::to_string(*remote.size) +
                            " bytes announced",
                        {}, "try again");
      }
      out->write(bytes);
      context_.progress({"download", name, static_cast<double>(done),
                         static_cast<double>(remote.size.value_or(0)), "B"});
    };
    HttpResponse r = http_.get(address(commit_, name), done, begin, data);
    if (out) {
      out->sync();
      out->close();
    }
    return r;
  }

  void verify(const std::string& name, const std::string& partial, const Remote& remote) {
    if (!env_.stat(partial)) env_.create(partial)->close();  // a file of 0 bytes
    const auto file = env_.open(partial);
    if (remote.size && file->size() != *remote.size) {
      const std::string fact = quote(name) + " has " + std::to_string(file->size()) + " bytes, " +
                               std::to_string(*remote.size) + " were announced";
      env_.remove(partial);
      throw FileError(Code::mismatch, where(), fact, {}, "try again");
    }
    if (is_sha256(remote.etag) && file_sha256(*file) != remote.etag) {
      env_.remove(partial);
      throw FileError(Code::mismatch, where(),
                      quote(name) + " arrived damaged: its SHA-256 differs", {}, "try again");
    }
  }

  // snapshots/COMMIT/sub/file -> ../../../blobs/ETAG
  std::string link(const std::string& name, const std::string& etag) {
    const std::string path = join_path(snapshot(), name);
    env_.make_directories(parent_path(path));
    std::string target = "../../";
    for (const char c : name) target += c == '/' ? "../" : "";
    target += "blobs/" + etag;
    const std::string temporary = path + ".tmp." + std::to_string(::getpid());
    env_.remove(temporary);
    std::error_code ec;
    std::filesystem::create_symlink(target, temporary, ec);
    if (ec) throw IoError(temporary, "link", ec.value());
    env_.rename(temporary, path);
    return path;
  }

  void touch(const std::string& path) {
    env_.make_directories(parent_path(path));
    env_.create(path)->close();
  }

  std::unique_ptr<FileLock> wait_for_lock(const std::string& path) {
    for (bool said = false;; said = true) {
      try {
        return env_.lock(path);
      } catch (const IoError& e) {
        if (e.error_number != EWOULDBLOCK && e.error_number != EAGAIN) throw;
      }
      if (!said) context_.info("another process downloads the same file: waiting for it");
      context_.throw_if_stopped();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }

  void pause(int attempt) {
    context_.throw_if_stopped();
    std::this_thread::sleep_for(std::chrono::milliseconds(settings_.retry_pause_ms) *
                                (1 << std::min(attempt - 1, 5)));
  }
  std::string address(const std::string& revision, const std::string& name) const {
    std::string ref = escaped(revision);
    for (size_t at; (at = ref.find('/')) != std::string::npos;) ref.replace(at, 1, "%2F");
    return settings_.endpoint + (repo_.kind == HubRepo::Kind::dataset ? "/datasets/" : "/") +
           repo_.name + "/resolve/" + ref + "/" + escaped(name);
  }
  [[noreturn]] void no_repository() const {
    throw FileError(Code::missing, where(), "no such repository, or it is private", {},
                    "check the name; for a private one set HF_TOKEN");
  }
  [[noreturn]] void network_error(const std::string& url, const HttpResponse& r) const {
    throw FileError(Code::io, url,
                    "no answer: " + (r.failure.empty() ? "the connection broke" : r.failure), {},
                    "run again to go on where it stopped; HF_HUB_OFFLINE=1 uses the cache alone");
  }

  const HubRepo& repo_;
  const HubSettings& settings_;
  const Context& context_;
  Env& env_;
  std::string folder_, commit_;
  bool offline_;  // by wish, or because the hub does not answer and the cache has the repository
  HttpClient http_;
};

// The shards that an index names, each once.
std::vector<std::string> shards_of(const std::string& index_path, const Context& context) {
  const Json index =
      parse_json(context.env->read_text(index_path, context.limits.header_json_bytes), index_path,
                 context.limits);
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object())
    throw FileError(Code::type, index_path, "has no weight_map");
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string())
      throw FileError(Code::type, index_path,
                      "the file of tensor " + quote(tensor) + " is not text");
    check_plain_name(file.get<std::string>(), index_path);
    names.insert(file.get<std::string>());
  }
  return {names.begin(), names.end()};
}

}  // namespace

std::optional<std::string> download_file(const HubRepo& repo, const std::string& file,
                                         const HubSettings& settings, const Context& context) {
  Session session(repo, settings, context);
  auto path = session.file(file);
  if (path) session.write_ref();
  return path;
}

std::string download_model(const HubRepo& repo, const HubSettings& settings,
                           const Context& context) {
  Session session(repo, settings, context);
  if (!session.file("config.json"))
    throw FileError(Code::missing, repo.name,
                    "has no config.json, so it is not a model in Hugging Face layout", {},
                    "for a GGUF repository name one of its files");
  for (const char* name :
       {"generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "special_tokens_map.json", "added_tokens.json", "chat_template.jinja", "chat_template.json",
        "vocab.json", "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model",
        "sentencepiece.bpe.model", "tokenizer.tiktoken", "qwen.tiktoken", "quantize_config.json",
        "quant_config.json", "halftone.json", "measured.json"})
    session.file(name);
  bool found = false;
  for (const auto& [index, single] :
       {std::pair{"model.safetensors.index.json", "model.safetensors"},
        std::pair{"pytorch_model.bin.index.json", "pytorch_model.bin"}}) {
    if (session.file(single)) {
      found = true;
    } else if (const auto path = session.file(index)) {
      for (const std::string& shard : shards_of(*path, context))
        if (!session.file(shard))
          throw FileError(Code::missing, repo.name,
                          "lacks " + quote(shard) + ", which its index names");
      found = true;
    }
    if (found) break;
  }
  if (!found)
    throw FileError(Code::missing, repo.name,
                    session.offline() ? "its weights are not in the cache"
                                      : "has neither safetensors nor pytorch_model.bin",
                    {},
                    session.offline() ? "they can be downloaded when the hub is reachable" : "");
  session.write_ref();
  return session.snapshot();
}

std::string file_sha256(const ReadFile& file) {
  struct Free {
    void operator()(EVP_MD_CTX* c) const { EVP_MD_CTX_free(c); }
  };
  const std::unique_ptr<EVP_MD_CTX, Free> digest(EVP_MD_CTX_new());
  check(digest && EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr) == 1,
        "libcrypto has SHA-256");
  std::vector<std::byte> buffer(std::min<uint64_t>(file.size(), 1 << 20));
  for (uint64_t done = 0; done < file.size();) {
    const auto piece =
        std::span(buffer).first(std::min<uint64_t>(buffer.size(), file.size() - done));
    file.read(done, piece);
    EVP_DigestUpdate(digest.get(), piece.data(), piece.size());
    done += piece.size();
  }
  std::array<unsigned char, 32> raw{};
  EVP_DigestFinal_ex(digest.get(), raw.data(), nullptr);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const unsigned char c : raw) {
    out += kHex[c >> 4];
    out += kHex[c & 15];
  }
  return out;
}

}  // namespace halftone::files
