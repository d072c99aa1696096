// safetensors: one file read, several files read as one, and the writer. docs: formats of Hugging
// Face's safetensors 0.8.
//
//   auto file = open_safetensors("model.safetensors", context);   // header checked, no data read
//   HostTensor W = file->read("model.embed_tokens.weight");
//
//   SafetensorsWriter out(*context.env, "model.safetensors",
//                         {{"a", DType::f16, {2, 3}}, {"b", DType::f32, {}}});
//   for (const auto& tensor : out.order()) out.write(tensor.name, bytes_of(tensor.name));
//   out.finish();                                                  // synced and closed
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/env.h"
#include "halftone/files/tensor_source.h"

namespace halftone::files {

// One row of a header, checked: the range lies in the data and its size is the shape's.
struct SafetensorsEntry {
  std::string name, stored_as;  // "BF16"
  std::optional<DType> dtype;   // empty: legal in the format, not held by us (F4, F6, C64, FNUZ):
                                // reading it is refused
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes from the start of the data
};
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;        // by begin
  std::map<std::string, std::string> metadata;  // "__metadata__"
  uint64_t data_offset = 0;                     // in the file
};

// `start` is the file from byte 0, at least its header; `file_size` its whole length. Every fault
// is a FileError.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> start, uint64_t file_size,
                                           const std::string& path, const Limits& limits = {});

class SafetensorsSource : public TensorSource {
 public:
  virtual const std::map<std::string, std::string>& metadata() const = 0;
};
std::shared_ptr<const SafetensorsSource> open_safetensors(const std::string& path,
                                                          const Context& context);

// The shards that an index file (model.safetensors.index.json) names, as one source.
std::shared_ptr<const TensorSource> open_safetensors_index(const std::string& index_path,
                                                           const Context& context);

struct TensorDecl {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
};

// Writes upstream's canonical layout: sorted by (dtype, wide first; name), header padded to 8
// bytes, or so that the data begins at a multiple of `alignment` in the file. Data comes in that order, each tensor whole or in pieces, and nothing is kept in memory.
// The file is not renamed into place: callers that need that write into a temporary folder. Errors:
// IoError of the disk; everything else is a bug of the caller.
class SafetensorsWriter {
 public:
  SafetensorsWriter(Env& env, const std::string& path, std::vector<TensorDecl> tensors,
                    const std::map<std::string, std::string>& metadata = {{"format", "pt"}},
                    uint64_t alignment = 8);
  ~SafetensorsWriter();
  const std::vector<TensorDecl>& order() const { return order_; }
  uint64_t file_size() const { return file_size_; }  // once finished
  void write(const std::string& name, std::span<const std::byte> bytes);
  void write(const std::string& name, const HostTensor& tensor);
  void finish();

 private:
  std::unique_ptr<WriteFile> file_;
  std::vector<TensorDecl> order_;
  size_t next_ = 0;
  uint64_t written_ = 0, file_size_ = 0;  // written_: bytes of order_[next_] so far
};

// Convenience for what fits in memory.
void write_safetensors(Env& env, const std::string& path,
                       const std::vector<std::pair<std::string, const HostTensor*>>& tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

std::string_view safetensors_dtype_name(DType dtype);  // "BF16"
// Place in upstream's declaration of types, which the canonical layout sorts by, last first.
size_t safetensors_dtype_rank(DType dtype);

}  // namespace halftone::files
