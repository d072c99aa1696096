// The emulated copies live in namespaces of their own: the sources are compiled with
// -Davx512=avx512_emulated and -Damx=amx_emulated.
#include "halftone/kernel/entries.h"
#include "halftone/kernel/kernels.h"

namespace halftone::kernel {

const Kernels& kernels_avx512_emulated() {
  static constexpr Kernels table = avx512::table("avx512vnni (emulated)");
  return table;
}

const Kernels& kernels_amx_emulated() {
  static constexpr Kernels table = amx::table("amx (emulated)");
  return table;
}

}  // namespace halftone::kernel
