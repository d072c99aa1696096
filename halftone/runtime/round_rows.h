// Rows of floats to the nearest codes in groups of 32, with f16 scales, as format::quantize_nearest
// gives them under its default grid (tests compare with ==); ten times as fast, because a head is
// rounded while somebody waits for its first token.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "halftone/base/tensor.h"

namespace halftone::runtime {

inline constexpr int64_t kRoundedGroup = 32;

// One row of f32, f16 or bf16 at any alignment -> codes [K] and scales [ceil(K / 32)]; bits 4 or 8.
// False when a value is not finite: then what was written means nothing.
bool round_row(DType dtype, std::span<const std::byte> row, int64_t bits, std::span<uint8_t> codes,
               std::span<float> scales);

}  // namespace halftone::runtime
