// The one decorated linear that pack and both engines share:
//     y = W (input_scale * x) + bias,   W dense, or scale * (code - zero)
// Columns that are not in the order of their groups (act-order) are a property of the codes
// (format::Codes::column_group). Kernels see plain codes.
#pragma once

#include <optional>
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

// W as the model means it, [out, in] f32 (pre-scale multiplied in).
Matrix<float> effective_weight(const DecoratedLinear& linear);

}  // namespace halftone::pack
