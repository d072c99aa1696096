#include <arm_neon.h>

#include <cstdint>

#include "halftone/kernel/entries.h"
#include "halftone/kernel/vector_ops.h"

namespace halftone::kernel::neon {
namespace {

struct Lanes {
  struct V {
    float32x4_t quarter[4];
  };
  template <class F>
  static inline __attribute__((always_inline)) V make(const F& f) {
    return {{f(0), f(1), f(2), f(3)}};
  }
  static V set(float x) {
    return make([&](int) { return vdupq_n_f32(x); });
  }
  static V load(const float* p) {
    return make([&](int i) { return vld1q_f32(p + 4 * i); });
  }
  static V load(const float* p, int64_t n, float fill) {
    if (n >= 16) return load(p);
    float some[16];
    for (int64_t i = 0; i < 16; ++i) some[i] = i < n ? p[i] : fill;
    return load(some);
  }
  static void store(float* p, const V& v) {
    for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, v.quarter[i]);
  }
  static void store(float* p, const V& v, int64_t n) {
    if (n >= 16) return store(p, v);
    float some[16];
    store(some, v);
    for (int64_t i = 0; i < n; ++i) p[i] = some[i];
  }
  static V add(const V& a, const V& b) {
    return make([&](int i) { return vaddq_f32(a.quarter[i], b.quarter[i]); });
  }
  static V sub(const V& a, const V& b) {
    return make([&](int i) { return vsubq_f32(a.quarter[i], b.quarter[i]); });
  }
  static V mul(const V& a, const V& b) {
    return make([&](int i) { return vmulq_f32(a.quarter[i], b.quarter[i]); });
  }
  static V div(const V& a, const V& b) {
    return make([&](int i) { return vdivq_f32(a.quarter[i], b.quarter[i]); });
  }
  static V sqrt(const V& a) {
    return make([&](int i) { return vsqrtq_f32(a.quarter[i]); });
  }
  static V fma(const V& a, const V& b, const V& c) {
    return make([&](int i) { return vfmaq_f32(c.quarter[i], a.quarter[i], b.quarter[i]); });
  }
  // By comparison: vmaxq and vminq would give NaN where either is.
  static float32x4_t larger(float32x4_t a, float32x4_t b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
  }
  static V max(const V& a, const V& b) {
    return make([&](int i) { return larger(a.quarter[i], b.quarter[i]); });
  }
  static V min(const V& a, const V& b) {
    return make([&](int i) {
      return vbslq_f32(vcltq_f32(a.quarter[i], b.quarter[i]), a.quarter[i], b.quarter[i]);
    });
  }
  static V abs(const V& a) {
    return make([&](int i) { return vabsq_f32(a.quarter[i]); });
  }
  static V round(const V& a) {
    return make([&](int i) { return vrndnq_f32(a.quarter[i]); });
  }
  static V exponent(const V& r, const V& n) {
    return make([&](int i) {
      const int32x4_t biased = vaddq_s32(vcvtnq_s32_f32(n.quarter[i]), vdupq_n_s32(127));
      return vmulq_f32(r.quarter[i], vreinterpretq_f32_s32(vshlq_n_s32(biased, 23)));
    });
  }
  static V zero_unless_ge(const V& x, const V& limit, const V& v) {
    return make([&](int i) {
      return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(v.quarter[i]),
                                             vcltq_f32(x.quarter[i], limit.quarter[i])));
    });
  }
  static V select_negative(const V& x, const V& a, const V& b) {
    return make(
        [&](int i) { return vbslq_f32(vcltzq_f32(x.quarter[i]), a.quarter[i], b.quarter[i]); });
  }
  // Not vaddvq, which adds neighbours first.
  static float sum(const V& v) {
    const float32x4_t four =
        vaddq_f32(vaddq_f32(v.quarter[0], v.quarter[2]), vaddq_f32(v.quarter[1], v.quarter[3]));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
  }
  static float largest(const V& v) {
    const float32x4_t four =
        larger(larger(v.quarter[0], v.quarter[2]), larger(v.quarter[1], v.quarter[3]));
    const float32x2_t low = vget_low_f32(four), high = vget_high_f32(four),
                      two = vbsl_f32(vcgt_f32(low, high), low, high);
    const float a = vget_lane_f32(two, 0), b = vget_lane_f32(two, 1);
    return a > b ? a : b;
  }
  static void store_f16(uint16_t* p, const V& v, int64_t n) {
    uint16_t some[16];
    uint16_t* to = n >= 16 ? p : some;
    for (int i = 0; i < 4; ++i)
      vst1_u16(to + 4 * i, vreinterpret_u16_f16(vcvt_f16_f32(v.quarter[i])));
    if (n < 16)
      for (int64_t i = 0; i < n; ++i) p[i] = some[i];
  }
  static V floor(const V& x) {
    return make([&](int i) { return vrndmq_f32(x.quarter[i]); });
  }
  static bool any_above(const V& v, float x) {
    const float32x4_t limit = vdupq_n_f32(x);
    const uint32x4_t low =
                         vorrq_u32(vcgtq_f32(v.quarter[0], limit), vcgtq_f32(v.quarter[1], limit)),
                     high =
                         vorrq_u32(vcgtq_f32(v.quarter[2], limit), vcgtq_f32(v.quarter[3], limit));
    return vmaxvq_u32(vorrq_u32(low, high)) != 0;
  }
  static V fraction(const V& x) { return sub(x, floor(x)); }
  static V power(const V& p, const V& x, const V& low) {
    return zero_unless_ge(x, low, exponent(p, floor(x)));
  }
  static V round_bf16(const V& v) {
    return make([&](int i) {
      const uint32x4_t bits = vreinterpretq_u32_f32(v.quarter[i]);
      const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
      const uint32x4_t rounded = vaddq_u32(vaddq_u32(bits, odd), vdupq_n_u32(0x7fff));
      const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
      const uint32x4_t number = vceqq_f32(v.quarter[i], v.quarter[i]);
      return vreinterpretq_f32_u32(
          vandq_u32(vbslq_u32(number, rounded, quiet), vdupq_n_u32(0xffff0000u)));
    });
  }
  static void store_high(uint16_t* p, const V& v, int64_t n) {
    uint16_t some[16];
    uint16_t* to = n >= 16 ? p : some;
    for (int i = 0; i < 4; ++i)
      vst1_u16(to + 4 * i, vshrn_n_u32(vreinterpretq_u32_f32(v.quarter[i]), 16));
    if (n < 16)
      for (int64_t i = 0; i < n; ++i) p[i] = some[i];
  }
  static void store_high(uint16_t* p, const V& a, const V& b) {
    store_high(p, a, int64_t{16});
    store_high(p + 16, b, int64_t{16});
  }
};

#include "halftone/kernel/vector_ops_body.h"

}  // namespace

const VectorOps vector_ops = kOps;

}  // namespace halftone::kernel::neon
