#include "benchmarks/limits/limits.h"

namespace halftone::benchmark {

const Limits& limits_for(kernel::Isa isa) {
  if (isa == kernel::Isa::amx) return limits_amx();
  return isa == kernel::Isa::avx512vnni ? limits_avx512() : limits_avx2();
}

}  // namespace halftone::benchmark
