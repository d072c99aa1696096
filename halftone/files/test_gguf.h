// Builds GGUF files byte by byte for tests, well-formed unless told otherwise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halftone/files/gguf.h"
#include "halftone/files/test_files.h"

namespace halftone::files::testing_files {

inline std::string gguf_string(const std::string& s) { return raw<uint64_t>(s.size()) + s; }

struct GgufBuilder {
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;  // fastest first, as in the file
    uint32_t type = 0;
    uint64_t offset = ~0ull;  // by default where the one before ends
  };
  uint32_t version = 3;
  uint64_t alignment = 32;        // of the layout; write general.alignment yourself
  std::vector<std::string> keys;  // encoded
  std::vector<Tensor> tensors;
  int64_t extra_keys = 0, extra_tensors = 0;  // added to the declared counts
  int64_t cut = 0;                            // bytes removed at the end

  GgufBuilder& key_raw(const std::string& name, uint32_t type, const std::string& value) {
    keys.push_back(gguf_string(name) + raw<uint32_t>(type) + value);
    return *this;
  }
  GgufBuilder& key_u32(const std::string& name, uint32_t value) {
    return key_raw(name, 4, raw(value));
  }
  GgufBuilder& key_i32(const std::string& name, int32_t value) {
    return key_raw(name, 5, raw(value));
  }
  GgufBuilder& key_f32(const std::string& name, float value) {
    return key_raw(name, 6, raw(value));
  }
  GgufBuilder& key_text(const std::string& name, const std::string& value) {
    return key_raw(name, 8, gguf_string(value));
  }
  GgufBuilder& key_array(const std::string& name, uint32_t type, uint64_t count,
                         const std::string& values) {
    return key_raw(name, 9, raw(type) + raw(count) + values);
  }
  GgufBuilder& key_texts(const std::string& name, const std::vector<std::string>& values) {
    std::string all;
    for (const auto& v : values) all += gguf_string(v);
    return key_array(name, 8, values.size(), all);
  }
  GgufBuilder& tensor(const std::string& name, std::vector<uint64_t> dims, uint32_t type = 0,
                      uint64_t offset = ~0ull) {
    tensors.push_back({name, std::move(dims), type, offset});
    return *this;
  }

  std::string bytes() const {
    std::string out = "GGUF" + raw(version) +
                      raw<uint64_t>(tensors.size() + static_cast<uint64_t>(extra_tensors)) +
                      raw<uint64_t>(keys.size() + static_cast<uint64_t>(extra_keys));
    for (const auto& k : keys) out += k;
    uint64_t next = 0;
    for (const Tensor& t : tensors) {
      out += gguf_string(t.name) + raw<uint32_t>(static_cast<uint32_t>(t.dims.size()));
      uint64_t count = 1;
      for (uint64_t d : t.dims) {
        out += raw(d);
        count *= d;
      }
      out += raw(t.type) + raw(t.offset == ~0ull ? next : t.offset);
      const BlockType* type = block_type(t.type);
      const uint64_t size =
          type ? count / static_cast<uint64_t>(type->elements) * static_cast<uint64_t>(type->bytes)
               : 0;
      if (size < 1 << 20) next += (size + alignment - 1) / alignment * alignment;
    }
    if (!tensors.empty())
      out.resize((out.size() + alignment - 1) / alignment * alignment + next, '\0');
    out.resize(out.size() - static_cast<size_t>(cut));
    return out;
  }
};

}  // namespace halftone::files::testing_files
