// bf16 rows times bf16 tiles with NEON: 6 x 16 blocks of fused multiply-adds on widened values. Not
// by bfmmla, which rounds otherwise.
#include <arm_neon.h>

#include <cstdint>

#include "halftone/kernel/entries.h"

namespace halftone::kernel::neon {
namespace {

constexpr int kMostRows = 6, kMostTiles = 1;

struct Pairs {
  struct V {
    float32x4_t quarter[4];
  };
  template <class F>
  static inline __attribute__((always_inline)) V make(const F& f) {
    return {{f(0), f(1), f(2), f(3)}};
  }
  static V zero() {
    return make([](int) { return vdupq_n_f32(0); });
  }
  static V load(const float* p) {
    return make([&](int i) { return vld1q_f32(p + 4 * i); });
  }
  static void store(float* p, const V& v) {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v.quarter[i]);
  }
  static V add(const V& a, const V& b) {
    return make([&](int i) { return vaddq_f32(a.quarter[i], b.quarter[i]); });
  }
  static V fma(const V& w, float x, const V& sum) {
    return make([&](int i) { return vfmaq_n_f32(sum.quarter[i], w.quarter[i], x); });
  }
  static V even(const uint16_t* line) {
    return make([&](int i) {
      const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(line + 8 * i));
      return vreinterpretq_f32_u32(vshlq_n_u32(pairs, 16));
    });
  }
  static V odd(const uint16_t* line) {
    return make([&](int i) {
      const uint32x4_t pairs = vreinterpretq_u32_u16(vld1q_u16(line + 8 * i));
      return vreinterpretq_f32_u32(vandq_u32(pairs, vdupq_n_u32(0xffff0000u)));
    });
  }
  static void widen(const uint16_t* x, float* out) {
    for (int i = 0; i < 32; i += 4)
      vst1q_f32(out + i, vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(x + i), 16)));
  }
};

#include "halftone/kernel/matmul_bf16_body.h"

}  // namespace

void matmul_bf16(const Bf16Matmul& job) noexcept { multiply_bf16(job); }

}  // namespace halftone::kernel::neon
