#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "halftone/linalg/blas.h"
#include "halftone/linalg/linalg.h"

namespace halftone::linalg {

std::string numeric_path() {
  // "OpenBLAS 0.3.21 NO_AFFINITY ...": the first two words, then the kernels chosen for this CPU.
  const std::string config = openblas_get_config();
  const size_t name_end = config.find(' ');
  const size_t version_end =
      name_end == std::string::npos ? config.size() : config.find(' ', name_end + 1);
  return config.substr(0, version_end) + " " + openblas_get_corename();
}

double measure_sgemm_gflops(int64_t n) {
  use_one_thread();
  const auto size = static_cast<size_t>(n * n);
  std::vector<float> a(size, 0.5f), b(size, 0.25f), c(size);
  double best_s = 1e9;
  for (int run = 0; run < 3; ++run) {
    const auto start = std::chrono::steady_clock::now();
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, dim(n), dim(n), dim(n), 1.0f, a.data(),
                dim(n), b.data(), dim(n), 0.0f, c.data(), dim(n));
    best_s = std::min(
        best_s, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / best_s /
         1e9;
}

}  // namespace halftone::linalg
