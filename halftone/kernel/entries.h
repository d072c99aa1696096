// The entries of each instruction set, one namespace each; tables.cc collects them. Only <cstdint>,
// as in kernels.h.
#pragma once

#include <cstdint>

#include "halftone/kernel/kernels.h"

namespace halftone::kernel {

// a block below this is zero: 127 / max stays finite
inline constexpr float kLeastActivation = 0x1p-100f;

namespace scalar {
inline constexpr int64_t kPanelRows = 4;
void quantize(const Quantize&) noexcept;
void gemv_int(const IntMatmul&) noexcept;
void gemm_int(const IntMatmul&) noexcept;
void gemv_float(const FloatMatmul&) noexcept;
void gemm_float(const FloatMatmul&) noexcept;
extern const VectorOps vector_ops;
}  // namespace scalar

namespace avx2 {
inline constexpr int64_t kPanelRows = 6;
void quantize(const Quantize&) noexcept;
void gemv_int(const IntMatmul&) noexcept;
void gemm_int(const IntMatmul&) noexcept;
void gemv_float(const FloatMatmul&) noexcept;
void gemm_float(const FloatMatmul&) noexcept;
extern const VectorOps vector_ops;
}  // namespace avx2

namespace avx512 {
inline constexpr int64_t kPanelRows = 12;
void quantize(const Quantize&) noexcept;
void gemv_int(const IntMatmul&) noexcept;
void gemm_int(const IntMatmul&) noexcept;
void gemv_float(const FloatMatmul&) noexcept;
void gemm_float(const FloatMatmul&) noexcept;
extern const VectorOps vector_ops;
}  // namespace avx512

// AVX-512 for all but gemm_int.
namespace amx {
inline constexpr int64_t kPanelRows = 16;
void gemm_int(const IntMatmul&) noexcept;
}  // namespace amx

namespace neon {
inline constexpr int64_t kPanelRows = 6;
void quantize(const Quantize&) noexcept;
void gemv_int(const IntMatmul&) noexcept;
void gemm_int(const IntMatmul&) noexcept;
void gemv_float(const FloatMatmul&) noexcept;
void gemm_float(const FloatMatmul&) noexcept;
extern const VectorOps vector_ops;
}  // namespace neon

}  // namespace halftone::kernel
