#include "halftone/kernel/kernels.h"

// The emulated copies live in this namespace: the sources are compiled with
// -Davx512=avx512_emulated.
#include "halftone/kernel/entries.h"

namespace halftone::kernel {

const Kernels& kernels_avx512_emulated() {
  static constexpr Kernels table = {.name = "avx512vnni (emulated)",
                                    .int_rows = avx512::kPanelRows,
                                    .float_rows = avx512::kPanelRows,
                                    .quantize = avx512::quantize,
                                    .gemv_int = avx512::gemv_int,
                                    .gemm_int = avx512::gemm_int,
                                    .gemv_float = avx512::gemv_float,
                                    .gemm_float = avx512::gemm_float,
                                    .vector = &avx512::vector_ops};
  return table;
}

}  // namespace halftone::kernel
