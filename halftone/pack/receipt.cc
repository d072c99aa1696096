#include "halftone/pack/receipt.h"

#include <algorithm>
#include <mutex>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/hash.h"

namespace halftone::pack {
namespace {

constexpr int64_t kPiece = int64_t{4} << 20;  // bytes hashed at a time
constexpr const char* kRemedy =
    "copy or quantize the folder again; if the change was meant, delete halftone.json";

std::string hash_of(std::string_view text) {
  return Hasher().add(std::as_bytes(std::span(text))).hex();
}

class Verified final : public files::TensorSource {
 public:
  Verified(std::shared_ptr<const TensorSource> source, TensorHashes hashes, std::string folder)
      : source_(std::move(source)), folder_(std::move(folder)) {
    for (auto& [name, hash] : hashes) wanted_[name].hash = std::move(hash);
  }
  const std::vector<files::TensorInfo>& tensors() const override { return source_->tensors(); }
  const files::TensorInfo* find(const std::string& name) const override {
    return source_->find(name);
  }
  HostTensor read(const std::string& name) const override {
    HostTensor out = source_->read(name);
    once(name, [&](Hasher& hasher) { hasher.add(out.bytes()); });
    return out;
  }
  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    check_whole(name);
    return source_->read_rows(name, begin, end);
  }
  std::span<const std::byte> mapped(const std::string& name) const override {
    check_whole(name);
    return source_->mapped(name);
  }
  void forget(const std::string& name, std::span<const std::byte> part) const override {
    source_->forget(name, part);
  }

 private:
  struct Wanted {
    std::string hash;
    std::mutex mutex;
    bool compared = false;
  };

  void once(const std::string& name, const auto& add) const {
    const auto found = wanted_.find(name);
    if (found == wanted_.end()) return;
    std::lock_guard lock(found->second.mutex);
    if (found->second.compared) return;
    Hasher hasher;
    add(hasher);
    if (hasher.hex() != found->second.hash)
      throw FileError(Code::mismatch, folder_,
                      "tensor " + quote(name) + " is not what halftone.json says was written", {},
                      kRemedy);
    found->second.compared = true;
  }

  // In pieces where it is not mapped, so that a table whose rows are read one by one is never in
  // memory.
  void check_whole(const std::string& name) const {
    once(name, [&](Hasher& hasher) {
      if (const auto bytes = source_->mapped(name); !bytes.empty()) {
        hasher.add(bytes);
        return;
      }
      const files::TensorInfo* info = source_->find(name);
      if (info == nullptr || info->shape.empty() || element_count(info->shape) == 0) {
        hasher.add(source_->read(name).bytes());
        return;
      }
      const int64_t rows = info->shape[0],
                    row_bytes = element_count(info->shape) / rows * dtype_bytes(info->dtype),
                    step = std::max<int64_t>(1, kPiece / std::max<int64_t>(1, row_bytes));
      for (int64_t row = 0; row < rows; row += step)
        hasher.add(source_->read_rows(name, row, std::min(rows, row + step)).bytes());
    });
  }

  std::shared_ptr<const TensorSource> source_;
  std::string folder_;
  mutable std::map<std::string, Wanted> wanted_;
};

// The layers of the receipt and the plan of config.json must be the same linears in the same bits.
void check_layers(const Json& layers, const format::Plan& plan, const std::string& path) {
  size_t planned = 0;
  for (const auto& [key, format] : plan.ports) planned += key.port == format::Port::weight;
  const auto refuse = [&](const std::string& what) {
    throw FileError(Code::mismatch, path, what, {}, kRemedy);
  };
  size_t listed = 0;
  for (const Json& layer : layers) {
    const std::string op = layer.at("op");
    const format::Format* format = plan.find(op, format::Port::weight);
    if (format == nullptr)
      refuse("layer " + quote(op) + " is not quantized according to config.json");
    const Json& said = layer.at("format");
    if (said.at("bits") != format->bits || said.at("symmetric") != format->symmetric)
      refuse("layer " + quote(op) + " has another format in config.json");
    ++listed;
  }
  if (listed != planned)
    refuse("lists " + std::to_string(listed) + " layers, config.json quantizes " +
           std::to_string(planned));
}

}  // namespace

std::string receipt_text(Json body, const TensorHashes& tensors, const std::string& config_text) {
  body["tensors"] = tensors;
  body["config"] = hash_of(config_text);
  body["hash"] = hash_of(body.dump());
  return body.dump(2) + "\n";
}

TensorHashes check_receipt(const std::string& folder, const files::TensorSource& tensors,
                           const format::Plan& plan, const Context& context) {
  const std::string path = join_path(folder, "halftone.json");
  if (!context.env->stat(path)) return {};
  Json json = parse_json(context.env->read_text(path, context.limits.json_file_bytes), path);
  try {
    if (!json.is_object()) throw FileError(Code::type, path, "is not an object");
    if (!json.at("schema").is_number_integer())
      throw FileError(Code::type, path, "schema is not a whole number");
    if (json.at("schema") > kReceiptSchema)
      throw FileError(Code::version, path,
                      "was written by a newer halftone (schema " + json.at("schema").dump() +
                          ", this one knows " + std::to_string(kReceiptSchema) + ")",
                      {}, "use that program, or delete halftone.json to read the folder unchecked");
    if (json.contains("hash") != json.contains("tensors"))
      throw FileError(Code::mismatch, path, "is damaged: it has hashes only in part");
    if (!json.contains("hash")) {  // written by hand, or cut down to its recipe
      if (json.contains("layers")) check_layers(json.at("layers"), plan, path);
      return {};
    }
    const std::string hash = json.at("hash");
    json.erase("hash");
    if (hash_of(json.dump()) != hash)
      throw FileError(Code::mismatch, path, "is not as it was written: its own hash differs", {},
                      kRemedy);
    check_layers(json.at("layers"), plan, path);
    const std::string config = join_path(folder, "config.json");
    if (hash_of(context.env->read_text(config, context.limits.json_file_bytes)) !=
        json.at("config").get<std::string>())
      context.warn(config + ": was changed after the model was quantized");
    TensorHashes hashes = json.at("tensors").get<TensorHashes>();
    for (const auto& [name, unused] : hashes)
      if (tensors.find(name) == nullptr)
        throw FileError(Code::missing, folder,
                        "has no tensor " + quote(name) + ", which halftone.json lists", {},
                        kRemedy);
    for (const auto& info : tensors.tensors())
      if (!hashes.contains(info.name))
        throw FileError(Code::mismatch, info.file,
                        "holds tensor " + quote(info.name) + ", which halftone.json does not list",
                        {}, kRemedy);
    return hashes;
  } catch (const Json::exception&) {
    throw FileError(Code::value, path, "a key is missing or of another type", {},
                    "copy the folder again, or delete halftone.json to read it unchecked");
  }
}

std::shared_ptr<const files::TensorSource> verified(
    std::shared_ptr<const files::TensorSource> source, TensorHashes hashes, std::string folder) {
  if (hashes.empty()) return source;
  return std::make_shared<Verified>(std::move(source), std::move(hashes), std::move(folder));
}

}  // namespace halftone::pack
