#include <immintrin.h>

#include "benchmarks/limits/limits.h"
#include "halftone/kernel/amx_tiles.h"

namespace halftone::benchmark {
namespace {

struct Lanes {
  using Register = __m512i;
  static constexpr int64_t kBytes = 64;
  static Register load(const uint8_t* p) { return _mm512_load_si512(p); }
  static Register combine(Register a, Register b) { return _mm512_xor_si512(a, b); }
  static uint64_t fold(Register a) { return static_cast<uint64_t>(_mm512_reduce_or_epi64(a)); }
};

#include "benchmarks/limits/limits_body.h"

#define SUMS "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23"
#define CLOBBERED                                                                               \
  "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10",      \
      "zmm11", "zmm12", "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20", \
      "zmm21", "zmm22", "zmm23", "zmm31"

HALFTONE_PEAK(int8_peak, "", SUMS, "vpdpbusd %%zmm31, %%zmm30, %%zmm\\i", CLOBBERED)
// From zeros: what the registers held may be denormal, which is slow.
HALFTONE_PEAK(f32_peak,
              "vpxord %%zmm31, %%zmm31, %%zmm31\n"
              ".irp i," SUMS "\n vpxord %%zmm\\i, %%zmm\\i, %%zmm\\i\n .endr\n",
              SUMS, "vfmadd231ps %%zmm31, %%zmm31, %%zmm\\i", CLOBBERED)

// Four sums of 16 x 16, each 16 x 16 x 64 multiply-adds a step.
void tile_peak(int64_t rounds) noexcept {
  namespace amx = kernel::amx;
  amx::TileConfig config;
  for (int t = 0; t < 8; ++t) {
    config.rows[t] = 16;
    config.row_bytes[t] = 64;
  }
  amx::configure(config);
  for (; rounds > 0; --rounds) {
    amx::multiply_add<0, 4, 6, true>();
    amx::multiply_add<1, 4, 7, true>();
    amx::multiply_add<2, 5, 6, true>();
    amx::multiply_add<3, 5, 7, true>();
  }
  amx::release();
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

const Limits& limits_amx() {
  static const Limits limits = [] {
    Limits l = limits_avx512();
    l.int8 = l.wide = {tile_peak, int64_t{4} * 16 * 16 * 64 * 2};
    return l;
  }();
  return limits;
}

}  // namespace halftone::benchmark
