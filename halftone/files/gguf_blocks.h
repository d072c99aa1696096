// Tensor types of GGUF: sizes of all that exist, decoders for those with a documented layout.
//
// Decoders are bit-exact with the dequantizers of the gguf Python package (f32 arithmetic in the
// same order), which the tests check on random bytes. Q1_0 and Q2_0 follow the layout only: no
// reference implementation decodes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "halftone/base/tensor.h"

namespace halftone::files {

struct BlockType {
  uint32_t id = 0;                  // ggml_type
  std::string_view name;            // "q4_1"
  int64_t elements = 1, bytes = 1;  // per block
  std::optional<DType> dense;       // set when stored values are elements of a DType
  // out[blocks * elements]; null: recognised, not decoded (lattice tables of IQ1/2/3, intermediate
  // Q8_1 and Q8_K) or dense.
  void (*decode)(const std::byte* in, float* out, int64_t blocks) = nullptr;
  // The distance between the values that each weight may have in its block, where levels are uneven
  // (IQ4, E2M1) the mean one. There where `decode` is.
  void (*steps)(const std::byte* in, float* out, int64_t blocks) = nullptr;

  bool readable() const { return dense.has_value() || decode != nullptr; }
};

std::span<const BlockType> block_types();  // by id
const BlockType* block_type(uint32_t id);  // null: unknown or removed
const BlockType* block_type(std::string_view name);

}  // namespace halftone::files
