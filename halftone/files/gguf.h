// GGUF v3 (and v2, which differs in nothing we read): metadata, tensor table, splits read as one
// model.
//
//   auto file = open_gguf("model.gguf", context);
//   int64_t blocks = file->integer("llama.block_count", 1, 512);
//   auto tensors = gguf_tensors(file);                   // block-quantized tensors are read as f32
//   HostTensor W = tensors->read("blk.0.attn_q.weight");
//
// Opening checks everything that can be checked without the data: sizes, offsets, overlaps, names,
// and that the metadata a model is built from makes sense. Strings are kept as views into one copy
// of the header, so 256k tokens cost 4 MB.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/env.h"
#include "halftone/files/gguf_blocks.h"
#include "halftone/files/tensor_source.h"

namespace halftone::files {

enum class GgufType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64
};
std::string_view gguf_type_name(GgufType type);
uint64_t gguf_type_bytes(GgufType type);  // of one value; 0 for strings and arrays

struct GgufValue {
  GgufType type = GgufType::u8;  // of the elements when it is an array
  bool is_array = false;
  uint64_t count = 1;
  std::span<const std::byte> raw;         // fixed-size values, any alignment
  std::vector<std::string_view> strings;  // [count] when type is string
};

struct GgufTensor {
  std::string name;
  const BlockType* type = nullptr;
  Shape shape;                     // Hugging Face order, slowest first
  uint64_t offset = 0, bytes = 0;  // in `part`, from the start of the file
  size_t part = 0;
};

struct GgufFile {
  std::string path;  // of the first part
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::vector<std::pair<std::string, GgufValue>> metadata;  // in file order, of the first part
  std::vector<GgufTensor> tensors;                          // sorted by name, of all parts
  std::vector<std::shared_ptr<const ReadFile>> parts;

  const GgufValue* find(std::string_view key) const;
  const GgufTensor* find_tensor(std::string_view name) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }

  // A default makes a key optional; without, its absence is E_MISSING. Another type is E_TYPE, out
  // of [low, high] is E_VALUE.
  int64_t integer(std::string_view key, int64_t low, int64_t high,
                  std::optional<int64_t> absent = {}) const;                     // any integer type
  double number(std::string_view key, std::optional<double> absent = {}) const;  // f32, f64; finite
  bool boolean(std::string_view key, std::optional<bool> absent = {}) const;
  std::string text(std::string_view key, std::optional<std::string> absent = {}) const;  // UTF-8
  // Arrays; empty when absent. `integers` and `numbers` take a single value for an array of one.
  std::span<const std::string_view> strings(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<float> numbers(std::string_view key) const;

 private:
  friend class GgufParser;
  friend std::shared_ptr<const GgufFile> open_gguf(const std::string& path, const Context& context);
  std::unordered_map<std::string_view, size_t> by_key_;
  std::vector<std::shared_ptr<const std::vector<std::byte>>> headers_;  // what the views point into
};

// One file, or all parts of a split when `path` is one of them.
std::shared_ptr<const GgufFile> open_gguf(const std::string& path, const Context& context);

// `bytes` is a whole file or its start; `file_size` its whole length. For tests and fuzzing. Views
// point into `bytes`. Throws FileError; when `bytes` is only a start that ends inside the header,
// `*need` is set and nothing is thrown.
std::shared_ptr<GgufFile> parse_gguf_header(std::span<const std::byte> bytes, uint64_t file_size,
                                            const std::string& path, const Limits& limits,
                                            uint64_t* need);

// The part of opening that looks at values: sizes of a model in range and dividing, tokenizer
// arrays of one length, special ids inside them. Only what is present is checked.
void check_gguf_metadata(const GgufFile& file, const Limits& limits);

// The tensors under GGUF names. UnsupportedError names the first tensor whose type has no decoder.
// `steps`: instead of each weight of a block its BlockType::steps.
enum class GgufRead : uint8_t { values, steps };
std::shared_ptr<const TensorSource> gguf_tensors(std::shared_ptr<const GgufFile> file,
                                                 GgufRead what = GgufRead::values);

}  // namespace halftone::files
