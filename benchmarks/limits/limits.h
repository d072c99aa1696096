// What this machine can do, measured in the process that is judged by it: reading memory, and the peak
// of the multiply-adds that kernels are made of, from registers. Plain functions per instruction set,
// because each file has its own flags.
#pragma once

#include <cstdint>

#include "halftone/kernel/isa.h"

namespace halftone::benchmark {

struct Limits {
  // Reads `bytes` (multiple of 256) of each of 1 or 4 streams, each 64-byte aligned; the result only
  // keeps the reads alive. One stream is a plain loop over memory, four are what a GEMV with four
  // joint tiles does: one stream leaves the memory of many machines unfilled.
  uint64_t (*read1)(const uint8_t* stream, int64_t bytes) noexcept;
  uint64_t (*read4)(const uint8_t* const* streams, int64_t bytes) noexcept;
  // Runs `rounds` rounds of independent multiply-adds; one round is `operations` (two for each
  // multiply-add).
  struct Peak {
    void (*run)(int64_t rounds) noexcept;
    int64_t operations;
  };
  Peak int8;
  Peak wide;  // what 8-bit codes run on: int16 pairs on AVX2, the same as int8 on VNNI and AMX
  Peak f32;
};

// The loops of `isa`; for scalar those of AVX2, which every machine that we measure has.
const Limits& limits_for(kernel::Isa isa);

const Limits& limits_avx2();
const Limits& limits_avx512();
const Limits& limits_amx();  // reads and f32 of AVX-512

}  // namespace halftone::benchmark
