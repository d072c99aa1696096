// The one decorated linear that pack and both engines share:
//     y = W (input_scale * x) + bias,   W dense, or scale * (code - zero)
// Columns that are not in the order of their groups (act-order) are a property of the codes
// (format::Codes::column_group). Kernels see plain codes.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "halftone/base/tensor.h"
#include "halftone/format/format.h"

namespace halftone::pack {

struct DecoratedLinear {
  std::string name;  // op name
  int64_t out = 0, in = 0;
  // pre
  std::vector<float> input_scale;  // [in]: x_k is multiplied by it; empty = 1
  // weights: codes or dense [out, in] (f32, f16, bf16)
  std::variant<format::Codes, HostTensor> weight;
  // post
  std::vector<float> bias;  // [out] or empty

  bool quantized() const { return std::holds_alternative<format::Codes>(weight); }
  const format::Codes& codes() const { return std::get<format::Codes>(weight); }
  const HostTensor& dense() const { return std::get<HostTensor>(weight); }
};

// A quantized linear as it lies in a mapped file, where an engine can make its weights of that
// without a byte for each code in between: 2, 4 or 8 bits, columns in the order of their groups,
// f16 scales, all finite. Everything that `read` would have checked has been.
struct StoredLinear {
  format::Format format;
  int64_t rows = 0, cols = 0;
  // Codes, lowest bits first. Rows `stride` bytes apart; or `down`: words of 32 bits [K * b / 32][N].
  std::span<const std::byte> words;
  int64_t stride = 0;
  bool down = false;
  bool signed_bytes = false;  // int8: code - 128
  // The scale of row n, group g is half n * scale_row + g * scale_group of these.
  std::span<const std::byte> scales;
  int64_t scale_row = 0, scale_group = 0;
  std::vector<uint8_t> zeros;  // [N, G], or empty: 2^(bits-1)
  std::vector<float> input_scale, bias;
  std::string words_name, scales_name;  // the tensors whose mappings the spans show
};

// W as the model means it, [out, in] f32 (pre-scale multiplied in).
Matrix<float> effective_weight(const DecoratedLinear& linear);

}  // namespace halftone::pack
