#include "halftone/kernel/entries.h"
#include "halftone/kernel/kernels.h"

namespace halftone::kernel {

const Kernels& kernels_scalar() {
  static constexpr Kernels table = scalar::table("scalar");
  return table;
}

#if defined(__x86_64__)
const Kernels& kernels_avx2() {
  static constexpr Kernels table = avx2::table("avx2");
  return table;
}

const Kernels& kernels_avx512() {
  static constexpr Kernels table = avx512::table("avx512vnni");
  return table;
}

const Kernels& kernels_amx() {
  static constexpr Kernels table = amx::table("amx");
  return table;
}

const Kernels& kernels_amx_int8() {
  static constexpr Kernels table = amx::table("amx", false);
  return table;
}
#elif defined(__aarch64__)
const Kernels& kernels_neon() {
  static constexpr Kernels table = neon::table("neon");
  return table;
}
#endif

}  // namespace halftone::kernel
