#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "halftone/base/half.h"
#include "halftone/kernel/entries.h"
#include "halftone/kernel/vector_ops.h"

namespace halftone::kernel::scalar {
namespace {

struct Lanes {
  using V = std::array<float, 16>;
  template <class F>
  static V make(const F& f) {
    V v;
    for (size_t i = 0; i < 16; ++i) v[i] = f(i);
    return v;
  }
  static V set(float x) {
    return make([&](size_t) { return x; });
  }
  static V load(const float* p) {
    return make([&](size_t i) { return p[i]; });
  }
  static V load(const float* p, int64_t n, float fill) {
    return make([&](size_t i) { return static_cast<int64_t>(i) < n ? p[i] : fill; });
  }
  static void store(float* p, const V& v, int64_t n = 16) {
    std::copy_n(v.begin(), std::min<int64_t>(n, 16), p);
  }
  static V add(const V& a, const V& b) {
    return make([&](size_t i) { return a[i] + b[i]; });
  }
  static V sub(const V& a, const V& b) {
    return make([&](size_t i) { return a[i] - b[i]; });
  }
  static V mul(const V& a, const V& b) {
    return make([&](size_t i) { return a[i] * b[i]; });
  }
  static V div(const V& a, const V& b) {
    return make([&](size_t i) { return a[i] / b[i]; });
  }
  static V sqrt(const V& a) {
    return make([&](size_t i) { return std::sqrt(a[i]); });
  }
  static V fma(const V& a, const V& b, const V& c) {
    return make([&](size_t i) { return std::fma(a[i], b[i], c[i]); });
  }
  static V max(const V& a, const V& b) {
    return make([&](size_t i) { return a[i] > b[i] ? a[i] : b[i]; });
  }
  static V min(const V& a, const V& b) {
    return make([&](size_t i) { return a[i] < b[i] ? a[i] : b[i]; });
  }
  static V abs(const V& a) {
    return make([&](size_t i) { return std::fabs(a[i]); });
  }
  static V round(const V& a) {
    return make([&](size_t i) { return std::nearbyint(a[i]); });
  }
  static V exponent(const V& r, const V& n) {
    return make([&](size_t i) {
      // NaN: r is NaN too
      const int32_t whole = n[i] >= -126 && n[i] <= 127 ? static_cast<int32_t>(n[i]) : 0;
      return r[i] * std::bit_cast<float>((whole + 127) << 23);
    });
  }
  static V zero_unless_ge(const V& x, const V& limit, const V& v) {
    return make([&](size_t i) { return x[i] < limit[i] ? 0.0f : v[i]; });
  }
  static V select_negative(const V& x, const V& a, const V& b) {
    return make([&](size_t i) { return x[i] < 0 ? a[i] : b[i]; });
  }
  static float sum(V v) {
    for (size_t step : {8u, 4u, 2u, 1u})
      for (size_t i = 0; i < step; ++i) v[i] += v[i + step];
    return v[0];
  }
  static float largest(V v) {
    for (size_t step : {8u, 4u, 2u, 1u})
      for (size_t i = 0; i < step; ++i) v[i] = v[i] > v[i + step] ? v[i] : v[i + step];
    return v[0];
  }
  static void store_f16(uint16_t* p, const V& v, int64_t n) {
    for (int64_t i = 0; i < std::min<int64_t>(n, 16); ++i)
      p[i] = f32_to_f16(v[static_cast<size_t>(i)]);
  }
  static bool any_above(const V& v, float x) {
    return std::any_of(v.begin(), v.end(), [&](float y) { return y > x; });
  }
  static V fraction(const V& x) {
    return make([&](size_t i) { return x[i] - std::floor(x[i]); });
  }
  static V power(const V& p, const V& x, const V& low) {
    V whole = make([&](size_t i) { return std::floor(x[i]); });
    return zero_unless_ge(x, low, exponent(p, whole));
  }
  static V round_bf16(const V& v) {
    return make([&](size_t i) { return bf16_to_f32(f32_to_bf16(v[i])); });
  }
  static void store_high(uint16_t* p, const V& v, int64_t n) {
    for (int64_t i = 0; i < std::min<int64_t>(n, 16); ++i)
      p[i] = static_cast<uint16_t>(std::bit_cast<uint32_t>(v[static_cast<size_t>(i)]) >> 16);
  }
  static void store_high(uint16_t* p, const V& a, const V& b) {
    store_high(p, a, int64_t{16});
    store_high(p + 16, b, int64_t{16});
  }
};

#include "halftone/kernel/vector_ops_body.h"

}  // namespace

const VectorOps vector_ops = kOps;

}  // namespace halftone::kernel::scalar
