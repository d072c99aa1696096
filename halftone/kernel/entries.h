// The entries of each instruction set, one namespace each, and the table they make; tables.cc hands
// the tables out. Only <cstdint>, as in kernels.h; nothing here emits code.
#pragma once

#include <cstdint>

#include "halftone/kernel/kernels.h"

namespace halftone::kernel {

// a block below this is zero: 127 / max stays finite
inline constexpr float kLeastActivation = 0x1p-100f;
// Tables: |X[k]| + |X[k + 1]| is at most twice this and the rounding of both, so that three times
// it, plus 128, fits int16, and T fits -127..127.
inline constexpr float kPairRange = 5418.0f;

// A macro, because a namespace is no template parameter. ROWS: of a panel, int8 and float. BIAS,
// WIDE: Kernels::panel_bias, wide_panels.
#define HALFTONE_KERNEL_ENTRIES(ISA, ROWS, BIAS, WIDE) \
  namespace ISA {                                      \
  inline constexpr int64_t kPanelRows = ROWS;          \
  inline constexpr uint8_t kPanelBias = BIAS;          \
  inline constexpr bool kWidePanels = WIDE;            \
  void quantize(const Quantize&) noexcept;             \
  void gemv_int(const IntMatmul&) noexcept;            \
  void gemm_int(const IntMatmul&) noexcept;            \
  void tabulate(const Quantize&) noexcept;             \
  void matmul_pairs(const IntMatmul&) noexcept;        \
  void gemv_float(const FloatMatmul&) noexcept;        \
  void gemm_float(const FloatMatmul&) noexcept;        \
  void matmul_bf16(const Bf16Matmul&) noexcept;        \
  extern const VectorOps vector_ops;                   \
  consteval Kernels table(const char* name) {          \
    return {.name = name,                              \
            .int_rows = kPanelRows,                    \
            .float_rows = kPanelRows,                  \
            .int_depth = 4,                            \
            .panel_bias = kPanelBias,                  \
            .wide_panels = kWidePanels,                \
            .quantize = quantize,                      \
            .gemv_int = gemv_int,                      \
            .gemm_int = gemm_int,                      \
            .tabulate = tabulate,                      \
            .matmul_pairs = matmul_pairs,              \
            .gemv_float = gemv_float,                  \
            .gemm_float = gemm_float,                  \
            .matmul_bf16 = matmul_bf16,                \
            .vector = &vector_ops};                    \
  }                                                    \
  }

HALFTONE_KERNEL_ENTRIES(scalar, 4, 0, false)
HALFTONE_KERNEL_ENTRIES(avx2, 6, 128, true)
HALFTONE_KERNEL_ENTRIES(avx512, 12, 0, false)
HALFTONE_KERNEL_ENTRIES(neon, 6, 0, false)

// AVX-512 for all but gemm_int and, where the CPU has AMX-BF16, matmul_bf16.
namespace amx {
inline constexpr int64_t kPanelRows = 16;
void gemm_int(const IntMatmul&) noexcept;
void matmul_bf16(const Bf16Matmul&) noexcept;
consteval Kernels table(const char* name, bool bf16 = true) {
  Kernels t = avx512::table(name);
  t.int_rows = kPanelRows;
  t.int_depth = 64;
  t.gemm_int = gemm_int;
  if (bf16) t.matmul_bf16 = matmul_bf16;
  return t;
}
}  // namespace amx

}  // namespace halftone::kernel
