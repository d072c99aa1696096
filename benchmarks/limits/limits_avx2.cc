#include <immintrin.h>

#include "benchmarks/limits/limits.h"

namespace halftone::benchmark {
namespace {

uint64_t fold(const __m256i* sum) noexcept {
  const __m256i all =
      _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
  return static_cast<uint64_t>(_mm256_extract_epi64(all, 0) ^ _mm256_extract_epi64(all, 1) ^
                               _mm256_extract_epi64(all, 2) ^ _mm256_extract_epi64(all, 3));
}

uint64_t read1(const uint8_t* stream, int64_t bytes) noexcept {
  __m256i sum[4] = {};
  for (int64_t i = 0; i < bytes; i += 128)
    for (int64_t j = 0; j < 4; ++j)
      sum[j] = _mm256_xor_si256(
          sum[j], _mm256_load_si256(reinterpret_cast<const __m256i*>(stream + i + 32 * j)));
  return fold(sum);
}

uint64_t read4(const uint8_t* const* s, int64_t bytes) noexcept {
  __m256i sum[4] = {};
  for (int64_t i = 0; i < bytes; i += 64)
    for (int j = 0; j < 4; ++j) {
      const auto* p = reinterpret_cast<const __m256i*>(s[j] + i);
      sum[j] = _mm256_xor_si256(sum[j],
                                _mm256_xor_si256(_mm256_load_si256(p), _mm256_load_si256(p + 1)));
    }
  return fold(sum);
}

// 12 sums, a product each: vpmaddubsw + vpaddw, the inner loop of gemm_int for b <= 4.
void int8_peak(int64_t rounds) noexcept {
  asm volatile(
      "1:\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vpmaddubsw %%ymm14, %%ymm12, %%ymm15\n vpaddw %%ymm15, %%ymm\\i, %%ymm\\i\n"
      ".endr\n"
      "dec %[rounds]\n jnz 1b\n"
      : [rounds] "+r"(rounds)
      :
      : "cc", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9",
        "ymm10", "ymm11", "ymm15");
}

void wide_peak(int64_t rounds) noexcept {
  asm volatile(
      "1:\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vpmaddwd %%ymm14, %%ymm12, %%ymm15\n vpaddd %%ymm15, %%ymm\\i, %%ymm\\i\n"
      ".endr\n"
      "dec %[rounds]\n jnz 1b\n"
      : [rounds] "+r"(rounds)
      :
      : "cc", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9",
        "ymm10", "ymm11", "ymm15");
}

void f32_peak(int64_t rounds) noexcept {
  asm volatile(
      "vxorps %%ymm14, %%ymm14, %%ymm14\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n vxorps %%ymm\\i, %%ymm\\i, %%ymm\\i\n .endr\n"
      "1:\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11\n"
      "vfmadd231ps %%ymm14, %%ymm14, %%ymm\\i\n"
      ".endr\n"
      "dec %[rounds]\n jnz 1b\n"
      : [rounds] "+r"(rounds)
      :
      : "cc", "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9",
        "ymm10", "ymm11", "ymm14");
}

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
