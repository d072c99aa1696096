// The emulated copies live in namespaces of their own: the sources are compiled with
// -Davx512=avx512_emulated and -Damx=amx_emulated.
#include "halftone/kernel/entries.h"
#include "halftone/kernel/kernels.h"

namespace halftone::kernel {

const Kernels& kernels_avx512_emulated() {
  static constexpr Kernels table = {.name = "avx512vnni (emulated)",
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

const Kernels& kernels_amx_emulated() {
  static const Kernels table = [] {
    Kernels t = kernels_avx512_emulated();
    t.name = "amx (emulated)";
    t.int_rows = amx::kPanelRows;
    t.int_depth = 64;
    t.gemm_int = amx::gemm_int;
    return t;
  }();
  return table;
}

}  // namespace halftone::kernel
