#include "halftone/pack/folder.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <map>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/hash.h"
#include "halftone/base/json.h"
#include "halftone/files/safetensors.h"

namespace halftone::pack {
namespace {

constexpr uint64_t kChunk = 4 << 20;

uint64_t tensor_bytes(const FolderTensor& t) {
  return static_cast<uint64_t>(element_count(t.shape) * dtype_bytes(t.dtype));
}

std::string shard_name(size_t index, size_t count) {
  if (count == 1) return "model.safetensors";
  char name[64];
  std::snprintf(name, sizeof(name), "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

std::string hash_text(std::string_view text) {
  return Hasher().add(std::as_bytes(std::span(text))).hex();
}

class FolderWriter {
 public:
  FolderWriter(const std::string& folder, const FolderContents& contents, const Context& context)
      : folder_(folder), contents_(contents), context_(context), env_(*context.env) {}

  FolderSummary write(uint64_t shard_bytes) {
    env_.remove_tree(folder_);
    env_.make_directories(folder_);
    split(shard_bytes);
    write_shards();
    for (const auto& [name, text] : contents_.texts) write_text(name, text);
    if (contents_.receipt) {
      const auto [name, text] = contents_.receipt(hashes_);
      write_text(name, text);
    }
    for (const auto& [name, path] : contents_.copies) copy(name, path);
    env_.sync_directory(folder_);
    verify();
    return summary_;
  }

 private:
  std::string path_of(const std::string& name) const { return join_path(folder_, name); }

  void split(uint64_t shard_bytes) {
    uint64_t filled = 0;
    for (const FolderTensor& t : contents_.tensors) {
      const uint64_t bytes = tensor_bytes(t);
      if (shards_.empty() || (filled > 0 && filled + bytes > shard_bytes)) {
        shards_.emplace_back();
        filled = 0;
      }
      shards_.back().push_back(&t);
      filled += bytes;
      summary_.tensor_bytes += bytes;
    }
    summary_.shards = static_cast<int64_t>(shards_.size());
  }

  void write_shards() {
    Json map = Json::object();
    std::map<std::string, std::string> places;
    double done = 0;
    for (size_t s = 0; s < shards_.size(); ++s) {
      const std::string name = shard_name(s, shards_.size());
      std::map<std::string, const FolderTensor*> by_name;
      std::vector<files::TensorDecl> declared;
      for (const FolderTensor* t : shards_[s]) {
        check(by_name.emplace(t->name, t).second && places.emplace(t->name, name).second,
              "a tensor is written twice");
        declared.push_back({t->name, t->dtype, t->shape});
      }
      files::SafetensorsWriter out(env_, path_of(name), std::move(declared));
      for (const auto& decl : out.order()) {
        context_.throw_if_stopped();
        Hasher hasher;
        by_name.at(decl.name)->stream([&](std::span<const std::byte> bytes) {
          hasher.add(bytes);
          out.write(decl.name, bytes);
          done += static_cast<double>(bytes.size());
          context_.progress({.stage = "write",
                             .detail = name,
                             .done = done,
                             .total = static_cast<double>(summary_.tensor_bytes),
                             .unit = "B"});
        });
        hashes_[decl.name] = hasher.hex();
      }
      out.finish();
      names_.push_back(name);
    }
    if (shards_.size() < 2) return;
    for (const auto& [tensor, file] : places) map[tensor] = file;
    const Json index = {{"metadata", {{"total_size", summary_.tensor_bytes}}}, {"weight_map", map}};
    write_text("model.safetensors.index.json", index.dump(2) + "\n");
  }

  void write_text(const std::string& name, const std::string& text) {
    auto file = env_.create(path_of(name));
    file->write(text);
    file->sync();
    file->close();
    meant_.emplace_back(name, hash_text(text));
  }

  void copy(const std::string& name, const std::string& from) {
    const auto in = env_.open(from);
    auto out = env_.create(path_of(name));
    Hasher hasher;
    std::vector<std::byte> chunk(
        static_cast<size_t>(std::min<uint64_t>(kChunk, std::max<uint64_t>(in->size(), 1))));
    for (uint64_t at = 0; at < in->size();) {
      const auto part = std::span(chunk).first(
          static_cast<size_t>(std::min<uint64_t>(chunk.size(), in->size() - at)));
      in->read(at, part);
      out->write(std::span<const std::byte>(part));
      hasher.add(std::span<const std::byte>(part));
      at += part.size();
    }
    out->sync();
    out->close();
    meant_.emplace_back(name, hasher.hex());
  }

  // Everything is read again: headers by the checked reader, data by hash.
  void verify() {
    Hasher all;
    const auto refuse = [&](const std::string& name, const std::string& what) {
      throw FileError(Code::mismatch, path_of(name), what + " was read back other than written", {},
                      "check the disk and run again");
    };
    for (const std::string& name : names_) {
      const auto file = env_.open(path_of(name));
      std::vector<std::byte> start(static_cast<size_t>(std::min<uint64_t>(8, file->size())));
      file->read(0, start);
      uint64_t header = 8;
      if (start.size() == 8) {
        uint64_t n = 0;
        std::memcpy(&n, start.data(), 8);
        if (n <= context_.limits.header_json_bytes && n <= file->size() - 8) header += n;
      }
      start.resize(static_cast<size_t>(header));
      file->read(0, start);
      const auto parsed =
          files::parse_safetensors_header(start, file->size(), path_of(name), context_.limits);
      all.add(name).add(std::span<const std::byte>(start));
      for (const auto& entry : parsed.entries) {
        context_.throw_if_stopped();
        const std::string hash =
            Hasher()
                .add(*file, parsed.data_offset + entry.begin, parsed.data_offset + entry.end)
                .hex();
        const auto meant = hashes_.find(entry.name);
        if (meant == hashes_.end() || meant->second != hash)
          refuse(name, "tensor " + quote(entry.name));
        all.add(hash);
      }
      summary_.file_bytes += file->size();
    }
    std::sort(meant_.begin(), meant_.end());
    for (const auto& [name, hash] : meant_) {
      const auto file = env_.open(path_of(name));
      if (Hasher().add(*file, 0, file->size()).hex() != hash) refuse(name, "the file");
      all.add(name).add(hash);
      summary_.file_bytes += file->size();
    }
    summary_.hash = all.hex();
  }

  const std::string& folder_;
  const FolderContents& contents_;
  const Context& context_;
  Env& env_;
  std::vector<std::vector<const FolderTensor*>> shards_;
  std::vector<std::string> names_;                          // shard files
  TensorHashes hashes_;                                     // tensor -> hash of what was written
  std::vector<std::pair<std::string, std::string>> meant_;  // side file -> hash
  FolderSummary summary_;
};

}  // namespace

FolderSummary write_folder(const std::string& folder, const FolderContents& contents,
                           const Context& context, uint64_t shard_bytes) {
  return FolderWriter(folder, contents, context).write(shard_bytes);
}

}  // namespace halftone::pack
