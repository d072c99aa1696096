// Which instruction set the kernels use: found once by CPUID and XCR0 (the operating system must
// save the registers too) or, on Arm, by what Linux says in AT_HWCAP; or forced by
// HALFTONE_ISA=scalar|avx2|avx512vnni|amx|neon.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::kernel {

struct Kernels;  // kernels.h

enum class Isa : uint8_t { scalar, avx2, avx512vnni, amx, neon };
std::string_view isa_name(Isa isa);

// What this CPU and this build can run, slowest first. `scalar` is always there. avx2 means AVX2 +
// FMA + F16C, avx512vnni means AVX-512 F, BW, DQ, VL and VNNI, amx means those and AMX-INT8
// (AMX-BF16 is used where it is there), neon means 64-bit Arm with the dot product instructions
// (Armv8.2 and later); without them Arm runs `scalar`.
std::vector<Isa> usable_isas();

// The fastest usable one, or the one named by `forced` ("" or null: none is). InputError naming the
// legal values if the name is unknown or this CPU lacks it.
Isa choose_isa(const char* forced);

// The kernels of one instruction set; `isa` must be usable. The table says which it is (`name`), so
// what ran can be asked.
const Kernels& kernels_for(Isa isa);

// kernels_for(choose_isa(HALFTONE_ISA)): what an engine calls once and passes on.
const Kernels& best_kernels();

std::string cpu_name();   // "Intel(R) Xeon(R) Processor", "unknown" where CPUID does not say
std::string cpu_flags();  // the ones kernels care about, as in "avx2 fma f16c avx512_vnni amx_int8"

}  // namespace halftone::kernel
