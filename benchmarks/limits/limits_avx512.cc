#include <immintrin.h>

#include "benchmarks/limits/limits.h"

namespace halftone::benchmark {
namespace {

uint64_t fold(const __m512i* sum) noexcept {
  return static_cast<uint64_t>(_mm512_reduce_or_epi64(
      _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3]))));
}

uint64_t read1(const uint8_t* stream, int64_t bytes) noexcept {
  __m512i sum[4] = {};
  for (int64_t i = 0; i < bytes; i += 256)
    for (int64_t j = 0; j < 4; ++j)
      sum[j] = _mm512_xor_si512(sum[j], _mm512_load_si512(stream + i + 64 * j));
  return fold(sum);
}

uint64_t read4(const uint8_t* const* s, int64_t bytes) noexcept {
  __m512i sum[4] = {};
  for (int64_t i = 0; i < bytes; i += 64)
    for (int j = 0; j < 4; ++j) sum[j] = _mm512_xor_si512(sum[j], _mm512_load_si512(s[j] + i));
  return fold(sum);
}

void int8_peak(int64_t rounds) noexcept {
  asm volatile(
      "1:\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"
      "vpdpbusd %%zmm31, %%zmm30, %%zmm\\i\n"
      ".endr\n"
      "dec %[rounds]\n jnz 1b\n"
      : [rounds] "+r"(rounds)
      :
      : "cc", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9",
        "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19",
        "zmm20", "zmm21", "zmm22", "zmm23");
}

void f32_peak(int64_t rounds) noexcept {
  asm volatile(
      "vpxord %%zmm31, %%zmm31, %%zmm31\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n vpxord %%zmm\\i, "
      "%%zmm\\i, %%zmm\\i\n .endr\n"
      "1:\n"
      ".irp i,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23\n"
      "vfmadd231ps %%zmm31, %%zmm31, %%zmm\\i\n"
      ".endr\n"
      "dec %[rounds]\n jnz 1b\n"
      : [rounds] "+r"(rounds)
      :
      : "cc", "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9",
        "zmm10", "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19",
        "zmm20", "zmm21", "zmm22", "zmm23", "zmm31");
}

}  // namespace

const Limits& limits_avx512() {
  static constexpr Limits limits = {.read1 = read1,
                                    .read4 = read4,
                                    .int8 = {int8_peak, 24 * 64 * 2},
                                    .wide = {int8_peak, 24 * 64 * 2},
                                    .f32 = {f32_peak, 24 * 16 * 2}};
  return limits;
}

}  // namespace halftone::benchmark
