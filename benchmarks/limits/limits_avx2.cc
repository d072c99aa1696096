#include <immintrin.h>

#include "benchmarks/limits/limits.h"

namespace halftone::benchmark {
namespace {

struct Lanes {
  using Register = __m256i;
  static constexpr int64_t kBytes = 32;
  static Register load(const uint8_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Register combine(Register a, Register b) { return _mm256_xor_si256(a, b); }
  static uint64_t fold(Register a) {
    return static_cast<uint64_t>(_mm256_extract_epi64(a, 0) ^ _mm256_extract_epi64(a, 1) ^
                                 _mm256_extract_epi64(a, 2) ^ _mm256_extract_epi64(a, 3));
  }
};

#include "benchmarks/limits/limits_body.h"

#define SUMS "0,1,2,3,4,5,6,7,8,9,10,11"
#define CLOBBERED                                                                          \
  "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", \
      "ymm11", "ymm14", "ymm15"

// vpmaddubsw + vpaddw, the inner loop of gemm_int for b <= 4.
HALFTONE_PEAK(int8_peak, "", SUMS,
              "vpmaddubsw %%ymm14, %%ymm12, %%ymm15\n vpaddw %%ymm15, %%ymm\\i, %%ymm\\i",
              CLOBBERED)
HALFTONE_PEAK(wide_peak, "", SUMS,
              "vpmaddwd %%ymm14, %%ymm12, %%ymm15\n vpaddd %%ymm15, %%ymm\\i, %%ymm\\i", CLOBBERED)
// From zeros: what the registers held may be denormal, which is slow.
HALFTONE_PEAK(f32_peak,
              "vxorps %%ymm14, %%ymm14, %%ymm14\n"
              ".irp i," SUMS "\n vxorps %%ymm\\i, %%ymm\\i, %%ymm\\i\n .endr\n",
              SUMS, "vfmadd231ps %%ymm14, %%ymm14, %%ymm\\i", CLOBBERED)

}  // namespace

const Limits& limits_avx2() {
  static constexpr Limits limits = {.read1 = read1,
                                    .read4 = read4,
                                    .int8 = {int8_peak, 12 * 32 * 2},
                                    .wide = {wide_peak, 12 * 16 * 2},
                                    .f32 = {f32_peak, 12 * 8 * 2}};
  return limits;
}

}  // namespace halftone::benchmark
