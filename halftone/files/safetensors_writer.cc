// The writer of safetensors: upstream's canonical layout.
#include <algorithm>
#include <cstring>

#include "halftone/base/error.h"
#include "halftone/base/json.h"
#include "halftone/files/safetensors.h"

namespace halftone::files {

SafetensorsWriter::SafetensorsWriter(Env& env, const std::string& path,
                                     std::vector<TensorDecl> tensors,
                                     const std::map<std::string, std::string>& metadata,
                                     uint64_t alignment)
    : order_(std::move(tensors)) {
  std::sort(order_.begin(), order_.end(), [](const TensorDecl& a, const TensorDecl& b) {
    const size_t ra = safetensors_dtype_rank(a.dtype), rb = safetensors_dtype_rank(b.dtype);
    return ra != rb ? ra > rb : a.name < b.name;
  });
  Json root = Json::object();
  auto& rows =
      root.get_ref<Json::object_t&>();  // names are unique, so append without the linear search
  rows.reserve(order_.size() + 1);
  if (!metadata.empty()) rows.emplace_back("__metadata__", Json(metadata));
  uint64_t offset = 0;
  std::vector<std::string> names;
  for (const TensorDecl& tensor : order_) {
    const uint64_t size =
        static_cast<uint64_t>(element_count(tensor.shape) * dtype_bytes(tensor.dtype));
    Json row = Json::object();
    row["dtype"] = safetensors_dtype_name(tensor.dtype);
    row["shape"] = tensor.shape;
    row["data_offsets"] = {offset, offset + size};
    rows.emplace_back(tensor.name, std::move(row));
    offset += size;
    names.push_back(tensor.name);
  }
  std::sort(names.begin(), names.end());
  check(std::adjacent_find(names.begin(), names.end()) == names.end(),
        "a tensor name was declared twice");
  std::string header = root.dump();
  header.resize((8 + header.size() + alignment - 1) / alignment * alignment - 8, ' ');
  file_size_ = 8 + header.size() + offset;
  const uint64_t length = header.size();
  std::string start(8, '\0');
  std::memcpy(start.data(), &length, 8);
  file_ = env.create(path);
  file_->write(std::string_view(start));
  file_->write(std::string_view(header));
}

SafetensorsWriter::~SafetensorsWriter() = default;

void SafetensorsWriter::write(const std::string& name, std::span<const std::byte> bytes) {
  const auto size_of = [](const TensorDecl& t) {
    return static_cast<uint64_t>(element_count(t.shape) * dtype_bytes(t.dtype));
  };
  while (next_ < order_.size() && order_[next_].name != name &&
         written_ == size_of(order_[next_])) {
    ++next_;  // the tensor before is complete
    written_ = 0;
  }
  check(next_ < order_.size() && order_[next_].name == name,
        "tensor " + name + " is written out of order");
  check(bytes.size() <= size_of(order_[next_]) - written_,
        "tensor " + name + " has more bytes than declared");
  file_->write(bytes);
  written_ += bytes.size();
}

void SafetensorsWriter::write(const std::string& name, const HostTensor& tensor) {
  write(name, tensor.bytes());
  check(order_[next_].dtype == tensor.dtype() && order_[next_].shape == tensor.shape(),
        "tensor " + name + " is not what was declared");
}

void SafetensorsWriter::finish() {
  check(file_->written() == file_size_, "not every declared tensor was written");
  file_->sync();
  file_->close();
}

void write_safetensors(Env& env, const std::string& path,
                       const std::vector<std::pair<std::string, const HostTensor*>>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<TensorDecl> declared;
  std::map<std::string, const HostTensor*> by_name;
  for (const auto& [name, tensor] : tensors) {
    declared.push_back({name, tensor->dtype(), tensor->shape()});
    by_name[name] = tensor;
  }
  SafetensorsWriter writer(env, path, std::move(declared), metadata);
  for (const TensorDecl& tensor : writer.order())
    writer.write(tensor.name, *by_name.at(tensor.name));
  writer.finish();
}

}  // namespace halftone::files
