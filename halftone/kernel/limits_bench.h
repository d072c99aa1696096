// What the machine can do, in the same process as the kernels: reading memory in 4 streams, and the
// peak of the multiply-adds that a kernel is made of, from registers. Plain functions per
// instruction set, as kernels.h.
#pragma once

#include <cstdint>

namespace halftone::kernel {

struct Limits {
  // Reads `bytes` (multiple of 256) of each of 4 streams; the result only keeps the reads alive.
  uint64_t (*read4)(const uint8_t* const* streams, int64_t bytes) noexcept;
  // Run `rounds` rounds of independent multiply-adds; the operations (2 for each multiply-add) of
  // one round.
  void (*int8_peak)(int64_t rounds) noexcept;
  int64_t int8_operations;
  void (*wide_peak)(int64_t rounds) noexcept;  // what 8-bit codes run on: int16 pairs on AVX2, the
                                               // same as int8 on VNNI
  int64_t wide_operations;
  void (*f32_peak)(int64_t rounds) noexcept;
  int64_t f32_operations;
};

const Limits& limits_avx2();
const Limits& limits_avx512();

}  // namespace halftone::kernel
