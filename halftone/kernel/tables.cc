#include "halftone/kernel/entries.h"
#include "halftone/kernel/kernels.h"

namespace halftone::kernel {

const Kernels& kernels_scalar() {
  static constexpr Kernels table = {.name = "scalar",
                                    .int_rows = scalar::kPanelRows,
                                    .float_rows = scalar::kPanelRows,
                                    .int_depth = 4,
                                    .quantize = scalar::quantize,
                                    .gemv_int = scalar::gemv_int,
                                    .gemm_int = scalar::gemm_int,
                                    .gemv_float = scalar::gemv_float,
                                    .gemm_float = scalar::gemm_float,
                                    .vector = &scalar::vector_ops};
  return table;
}

#if defined(__x86_64__)
const Kernels& kernels_avx2() {
  static constexpr Kernels table = {.name = "avx2",
                                    .int_rows = avx2::kPanelRows,
                                    .float_rows = avx2::kPanelRows,
                                    .int_depth = 4,
                                    .quantize = avx2::quantize,
                                    .gemv_int = avx2::gemv_int,
                                    .gemm_int = avx2::gemm_int,
                                    .gemv_float = avx2::gemv_float,
                                    .gemm_float = avx2::gemm_float,
                                    .vector = &avx2::vector_ops};
  return table;
}

const Kernels& kernels_avx512() {
  static constexpr Kernels table = {.name = "avx512vnni",
                                    .int_rows = avx512::kPanelRows,
                                    .float_rows = avx512::kPanelRows,
                                    .int_depth = 4,
                                    .quantize = avx512::quantize,
                                    .gemv_int = avx512::gemv_int,
                                    .gemm_int = avx512::gemm_int,
                                    .gemv_float = avx512::gemv_float,
                                    .gemm_float = avx512::gemm_float,
                                    .vector = &avx512::vector_ops};
  return table;
}

const Kernels& kernels_amx() {
  static const Kernels table = [] {
    Kernels t = kernels_avx512();
    t.name = "amx";
    t.int_rows = amx::kPanelRows;
    t.int_depth = 64;
    t.gemm_int = amx::gemm_int;
    return t;
  }();
  return table;
}
#elif defined(__aarch64__)
const Kernels& kernels_neon() {
  static constexpr Kernels table = {.name = "neon",
                                    .int_rows = neon::kPanelRows,
                                    .float_rows = neon::kPanelRows,
                                    .int_depth = 4,
                                    .quantize = neon::quantize,
                                    .gemv_int = neon::gemv_int,
                                    .gemm_int = neon::gemm_int,
                                    .gemv_float = neon::gemv_float,
                                    .gemm_float = neon::gemm_float,
                                    .vector = &neon::vector_ops};
  return table;
}
#endif

}  // namespace halftone::kernel
