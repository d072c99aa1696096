#include "halftone/files/sharded.h"

#include <filesystem>
#include <map>
#include <unordered_map>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "halftone/files/tensor_table.h"

namespace halftone::files {
namespace {

bool is_inside(const std::filesystem::path& file, const std::filesystem::path& folder) {
  const auto relative = file.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

// A shard may be a symlink (the hub's cache is made of them), but not one that leads out of what
// the user pointed at.
void check_link(const std::string& folder, const std::string& shard) {
  std::error_code ec;
  const auto link = std::filesystem::symlink_status(shard, ec);
  if (ec || link.type() != std::filesystem::file_type::symlink) return;
  const auto target = std::filesystem::canonical(shard, ec);
  if (ec)
    throw FileError(Code::missing, shard, "is a link to a file that does not exist", {},
                    "download it again");
  const auto home = std::filesystem::canonical(folder, ec);
  if (!ec && is_inside(target, home)) return;
  // HUB/models--ORG--NAME/snapshots/COMMIT/file -> HUB/models--ORG--NAME/blobs/ETAG
  if (!ec && home.parent_path().filename() == "snapshots" &&
      is_inside(target, home.parent_path().parent_path() / "blobs"))
    return;
  throw FileError(Code::path, shard, "is a link that leads out of the model's folder", {},
                  "copy the file there instead");
}

class Sharded : public TensorSource {
 public:
  Sharded(const std::string& index_path, const Context& context, const OpenShard& open_shard)
      : path_(index_path) {
    const std::string folder = parent_path(index_path);
    const Json index =
        parse_json(context.env->read_text(index_path, context.limits.header_json_bytes), index_path,
                   context.limits);
    if (!index.is_object()) throw FileError(Code::type, index_path, "is not a JSON object");
    const auto map = index.find("weight_map");
    if (map == index.end()) throw FileError(Code::missing, index_path, "has no weight_map");
    if (!map->is_object()) throw FileError(Code::type, index_path, "weight_map is not an object");
    if (map->size() > context.limits.tensors)
      throw FileError(Code::limit, index_path,
                      "names " + std::to_string(map->size()) + " tensors, the limit is " +
                          std::to_string(context.limits.tensors));
    std::map<std::string, size_t> by_file;
    std::unordered_map<std::string, const std::string*> wanted;
    for (const auto& [tensor, file] : map->items()) {
      if (!file.is_string())
        throw FileError(Code::type, index_path,
                        "the file of tensor " + quote(tensor) + " is not text");
      const auto name = file.get<std::string>();
      check_plain_name(name, index_path);
      by_file.emplace(name, 0);
      wanted.emplace(tensor, &file.get_ref<const std::string&>());
    }
    for (auto& [name, slot] : by_file) {
      slot = shards_.size();
      const std::string shard = join_path(folder, name);
      const auto stat = context.env->stat(shard);
      check_link(folder, shard);
      if (!stat)
        throw FileError(Code::missing, shard,
                        "no such file, but " + quote(file_name(index_path)) + " names it", {},
                        "download the missing shard");
      shards_.push_back(open_shard(shard));
    }
    std::unordered_map<std::string, size_t> seen;  // tensor -> the shard that has it
    for (size_t s = 0; s < shards_.size(); ++s) {
      for (const TensorInfo& info : shards_[s]->tensors()) {
        const auto [it, fresh] = seen.emplace(info.name, s);
        if (!fresh && wanted.contains(info.name))
          throw FileError(Code::duplicate, index_path,
                          "tensor " + quote(info.name) + " is in two shards");
      }
    }
    for (const auto& [tensor, file] : wanted) {
      const size_t want = by_file.at(*file);
      const TensorInfo* info = shards_[want]->find(tensor);
      if (info == nullptr) {
        const std::string fact = "places tensor " + quote(tensor) + " in " + quote(*file);
        if (seen.contains(tensor))
          throw FileError(Code::mismatch, index_path, fact + ", but another shard has it");
        throw FileError(Code::missing, index_path, fact + ", but that file does not have it");
      }
      table_.add(*info, want);
    }
    table_.finish(index_path);
  }

  const std::vector<TensorInfo>& tensors() const override { return table_.tensors(); }
  const TensorInfo* find(const std::string& name) const override { return table_.find(name); }
  HostTensor read(const std::string& name) const override { return shard(name).read(name); }
  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    return shard(name).read_rows(name, begin, end);
  }
  std::span<const std::byte> mapped(const std::string& name) const override {
    return shard(name).mapped(name);
  }
  void forget(const std::string& name, std::span<const std::byte> part) const override {
    shard(name).forget(name, part);
  }

 private:
  const TensorSource& shard(const std::string& name) const {
    return *shards_[table_.extra(table_.require(name, path_))];
  }
  std::string path_;
  std::vector<std::shared_ptr<const TensorSource>> shards_;
  TensorTable<size_t> table_;
};

}  // namespace

void check_plain_name(const std::string& name, const std::string& path) {
  const bool plain = !name.empty() && name != "." && name != ".." &&
                     name.find_first_of("/\\:") == std::string::npos &&
                     name.find('\0') == std::string::npos && name.size() <= 255;
  if (!plain)
    throw FileError(Code::path, path,
                    "names the file " + quote(name) + ", which is not a plain file name");
}

std::shared_ptr<const TensorSource> open_sharded(const std::string& index_path,
                                                 const Context& context,
                                                 const OpenShard& open_shard) {
  return std::make_shared<Sharded>(index_path, context, open_shard);
}

}  // namespace halftone::files
