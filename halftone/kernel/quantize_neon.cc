// Activations to int8, 4 values at a time; the same integers as the scalar reference.
#include <arm_neon.h>

#include <cstdint>

#include "halftone/kernel/entries.h"

namespace halftone::kernel::neon {
namespace {

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

float32x4_t load_some(const float* x, int64_t count) {
  if (count >= 4) return vld1q_f32(x);
  float some[4] = {};
  for (int64_t i = 0; i < count; ++i) some[i] = x[i];
  return vld1q_f32(some);
}

// 32 values -> 32 codes in order; returns their sum.
int32_t encode32(const float* x, int64_t filled, float32x4_t inverse, int8_t* codes) {
  int16x8_t q[4];
  for (int i = 0; i < 4; ++i) {
    const int32x4_t low = vcvtnq_s32_f32(vmulq_f32(load_some(x + 8 * i, filled - 8 * i), inverse));
    const int32x4_t high =
        vcvtnq_s32_f32(vmulq_f32(load_some(x + 8 * i + 4, filled - 8 * i - 4), inverse));
    q[i] = vcombine_s16(vqmovn_s32(low), vqmovn_s32(high));
  }
  const int8x16_t least = vdupq_n_s8(-127);
  const int8x16_t first = vmaxq_s8(vcombine_s8(vqmovn_s16(q[0]), vqmovn_s16(q[1])), least),
                  second = vmaxq_s8(vcombine_s8(vqmovn_s16(q[2]), vqmovn_s16(q[3])), least);
  vst1q_s8(codes, first);
  vst1q_s8(codes + 16, second);
  const int16x8_t pairs = vaddq_s16(vpaddlq_s8(first), vpaddlq_s8(second));
  const int16x4_t s = vadd_s16(vget_low_s16(pairs), vget_high_s16(pairs));
  return vget_lane_s32(vreinterpret_s32_s16(vadd_s16(s, vext_s16(s, s, 2))), 0);
}

uint32_t largest_bits(const float* x, int64_t count) {
  uint32x4_t most = vdupq_n_u32(0);
  for (int64_t k = 0; k < count; k += 4)
    most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(load_some(x + k, count - k)),
                                     vdupq_n_u32(0x7fffffff)));
  return vmaxvq_u32(most);
}

// The bits of the largest |x[k]| / 2 + |x[k + 1]| / 2.
uint32_t largest_pair(const float* x, int64_t count) {
  uint32x4_t most = vdupq_n_u32(0);
  for (int64_t k = 0; k < count; k += 4) {
    const float32x4_t size = vabsq_f32(vmulq_n_f32(load_some(x + k, count - k), 0.5f)),
                      both = vaddq_f32(size, vrev64q_f32(size));
    most = vmaxq_u32(most, vandq_u32(vreinterpretq_u32_f32(both), vdupq_n_u32(0x7fffffff)));
  }
  return vmaxvq_u32(most);
}

// 32 values -> 16 tables in order; returns the sum of X.
int32_t tables32(const float* x, int64_t filled, float inverse, uint8_t* tables) {
  static constexpr int16_t kFirst[8] = {-3, -1, 1, 3, -3, -1, 1, 3},
                           kSecond[16] = {-3, -3, -3, -3, -1, -1, -1, -1, 1, 1, 1, 1, 3, 3, 3, 3};
  const int16x8_t first = vld1q_s16(kFirst),
                  second[2] = {vld1q_s16(kSecond), vld1q_s16(kSecond + 8)},
                  half = vreinterpretq_s16_u16(vdupq_n_u16(0x8080));  // 128 * 256 + 128
  int32x4_t sums = vdupq_n_s32(0);
  for (int k = 0; k < kTileCols; k += 4) {
    const int32x4_t q = vcvtnq_s32_f32(vmulq_n_f32(load_some(x + k, filled - k), inverse));
    sums = vaddq_s32(sums, q);
    int16_t four[4];
    vst1_s16(four, vmovn_s32(q));
    for (int pair = 0; pair < 2; ++pair) {
      const int16x8_t one = vmlaq_n_s16(half, first, four[2 * pair]);
      uint8x8_t bytes[2];
      for (int h = 0; h < 2; ++h)
        bytes[h] =
            vshrn_n_u16(vreinterpretq_u16_s16(vmlaq_n_s16(one, second[h], four[2 * pair + 1])), 8);
      vst1q_u8(tables + (k / 2 + pair) * 16, vcombine_u8(bytes[0], bytes[1]));
    }
  }
  return vaddvq_s32(sums);
}

inline float32x4_t spread(float x) { return vdupq_n_f32(x); }

#include "halftone/kernel/quantize_body.h"

}  // namespace

void quantize(const Quantize& job) noexcept { quantize_rows(job); }
void tabulate(const Quantize& job) noexcept { tabulate_rows(job); }

}  // namespace halftone::kernel::neon
