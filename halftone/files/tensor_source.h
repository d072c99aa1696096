// Named tensors in files, whatever the files are: safetensors (single or sharded), GGUF,
// pytorch_model.bin.
//
// Opening a source reads and checks headers only. Tensors are read one by one, so a whole model is
// never in memory. Const members are safe from many threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/tensor.h"

namespace halftone::files {

struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;  // what `read` returns: block-quantized GGUF tensors are read as f32
  Shape shape;               // Hugging Face order, slowest first
  std::string stored_as;     // "bf16", "q4_1": as the file says it
  uint64_t stored_bytes = 0;
  std::string file;  // which file holds it
};

class TensorSource {
 public:
  virtual ~TensorSource() = default;
  virtual const std::vector<TensorInfo>& tensors() const = 0;  // sorted by name
  virtual const TensorInfo* find(const std::string& name) const = 0;
  // Row-major. Errors: FileError{missing} with the nearest name; FileError on damage.
  virtual HostTensor read(const std::string& name) const = 0;
  // Rows [begin, end) of the slowest dimension.
  virtual HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const = 0;
  // The stored bytes in a mapping of the file (any alignment), or empty where they cannot be mapped
  // as they are.
  virtual std::span<const std::byte> mapped(const std::string& name) const = 0;
  // This part of what mapped(name) gave has been read and need not stay in memory.
  virtual void forget(const std::string& /*name*/, std::span<const std::byte> /*part*/) const {}
};

}  // namespace halftone::files
