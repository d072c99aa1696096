// The only place that sees cblas. Every public function of linalg starts with `use_one_thread`.
#pragma once

#include <cblas.h>

#include <cstdint>

namespace halftone::linalg {

inline void use_one_thread() {
  // Cheap when already so. Repeated because anything else in the process (a tensor library) may
  // have changed it.
  openblas_set_num_threads(1);
}

inline blasint dim(int64_t n) { return static_cast<blasint>(n); }

}  // namespace halftone::linalg
