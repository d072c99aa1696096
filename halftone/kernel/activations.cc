#include "halftone/kernel/activations.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__x86_64__)
#include <xmmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "halftone/base/error.h"
#include "halftone/base/threads.h"

namespace halftone::kernel {
namespace {

#if defined(__x86_64__)
// Rows i .. i + count - 1 (count 2 or 4), columns k .. k + 3, transposed into their places. SSE is
// part of x86-64, NEON of 64-bit Arm.
void transpose4(const float* x, int64_t ldx, int64_t R, int64_t count, float* out) {
  __m128 a = _mm_loadu_ps(x), b = _mm_loadu_ps(x + ldx);
  if (count == 2) {
    const __m128 low = _mm_unpacklo_ps(a, b), high = _mm_unpackhi_ps(a, b);
    _mm_storel_pi(reinterpret_cast<__m64*>(out), low);
    _mm_storeh_pi(reinterpret_cast<__m64*>(out + R), low);
    _mm_storel_pi(reinterpret_cast<__m64*>(out + 2 * R), high);
    _mm_storeh_pi(reinterpret_cast<__m64*>(out + 3 * R), high);
    return;
  }
  __m128 c = _mm_loadu_ps(x + 2 * ldx), d = _mm_loadu_ps(x + 3 * ldx);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(out, a);
  _mm_storeu_ps(out + R, b);
  _mm_storeu_ps(out + 2 * R, c);
  _mm_storeu_ps(out + 3 * R, d);
}
#elif defined(__aarch64__)
void transpose4(const float* x, int64_t ldx, int64_t R, int64_t count, float* out) {
  const float32x4_t a = vld1q_f32(x), b = vld1q_f32(x + ldx);
  if (count == 2) {
    const float32x4_t low = vzip1q_f32(a, b), high = vzip2q_f32(a, b);
    vst1_f32(out, vget_low_f32(low));
    vst1_f32(out + R, vget_high_f32(low));
    vst1_f32(out + 2 * R, vget_low_f32(high));
    vst1_f32(out + 3 * R, vget_high_f32(high));
    return;
  }
  const float32x4_t c = vld1q_f32(x + 2 * ldx), d = vld1q_f32(x + 3 * ldx);
  // pairs of rows: columns 0 and 2, columns 1 and 3
  const float64x2_t ab02 = vreinterpretq_f64_f32(vtrn1q_f32(a, b)),
                    ab13 = vreinterpretq_f64_f32(vtrn2q_f32(a, b)),
                    cd02 = vreinterpretq_f64_f32(vtrn1q_f32(c, d)),
                    cd13 = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
  vst1q_f32(out, vreinterpretq_f32_f64(vtrn1q_f64(ab02, cd02)));
  vst1q_f32(out + R, vreinterpretq_f32_f64(vtrn1q_f64(ab13, cd13)));
  vst1q_f32(out + 2 * R, vreinterpretq_f32_f64(vtrn2q_f64(ab02, cd02)));
  vst1q_f32(out + 3 * R, vreinterpretq_f32_f64(vtrn2q_f64(ab13, cd13)));
}
#endif

// Panels [panel][k][R]: row i of the panel at k * R + i. Missing rows and columns become zero.
void pack_panel(const float* x, int64_t ldx, int64_t rows, int64_t R, int64_t cols,
                int64_t padded_cols, float* out) {
  if (rows < R || cols < padded_cols)
    std::memset(out, 0, static_cast<size_t>(padded_cols * R) * sizeof(float));
  int64_t k = 0;
#if defined(__x86_64__) || defined(__aarch64__)
  for (; k + 4 <= cols; k += 4) {
    int64_t i = 0;
    for (; i + 4 <= rows; i += 4) transpose4(x + i * ldx + k, ldx, R, 4, out + k * R + i);
    for (; i + 2 <= rows; i += 2) transpose4(x + i * ldx + k, ldx, R, 2, out + k * R + i);
    for (; i < rows; ++i)
      for (int64_t j = 0; j < 4; ++j) out[(k + j) * R + i] = x[i * ldx + k + j];
  }
#endif
  for (; k < cols; ++k)
    for (int64_t i = 0; i < rows; ++i) out[k * R + i] = x[i * ldx + k];
}

}  // namespace

ActivationPlan plan_int8(const Tiles& w, int64_t block) {
  check(w.store == Store::codes, "int8 activations for dense weights");
  const bool row = block == kWholeRow;
  check(row || (block >= kTileCols && block % kTileCols == 0 && block <= kMaxUnit),
        "an activation block is 32 to 256, a multiple of 32, or the whole row");
  ActivationPlan p{.int8 = true,
                   .cols = w.cols,
                   .padded_cols = w.padded_cols,
                   .unit = unit_for(w, row ? kMaxUnit : block),
                   .block = 0};
  p.wide = wide_codes(w);
  p.group = w.sub_offset >= 0 ? w.group : 0;
  p.pairs = w.pairs != 0;
  p.block = p.pairs               ? p.unit
            : row                 ? w.padded_cols
            : p.group != 0        ? p.group
            : block % p.unit == 0 ? block
                                  : p.unit;
  return p;
}

ActivationPlan plan_float(const Tiles& w) {
  check(w.sub_offset < 0 && w.pairs == 0, "float activations for two-level scales or pairs");
  // Dense weights have no scale to wait for: partial sums of 256 only keep rounding errors small.
  const int64_t unit = w.store == Store::codes ? unit_for(w) : kMaxUnit;
  return {.int8 = false, .cols = w.cols, .padded_cols = w.padded_cols, .unit = unit, .block = 0};
}

Activations::Buffer::Buffer(Buffer&& other) noexcept
    : data(std::exchange(other.data, nullptr)), size(std::exchange(other.size, 0)) {}

Activations::Buffer& Activations::Buffer::operator=(Buffer&& other) noexcept {
  std::swap(data, other.data);
  std::swap(size, other.size);
  return *this;
}

Activations::Buffer::~Buffer() { std::free(data); }

void Activations::Buffer::grow(int64_t bytes) {
  if (bytes <= size) return;
  std::free(std::exchange(data, nullptr));
  size = 0;
  const int64_t rounded = (bytes + 63) / 64 * 64;
  data = static_cast<std::byte*>(std::aligned_alloc(64, static_cast<size_t>(rounded)));
  if (data == nullptr) throw std::bad_alloc();
  size = rounded;
}

void prepare(Activations& out, const Kernels& kernels, const ActivationPlan& plan, const float* x,
             int64_t m, int64_t ldx, ThreadPool* pool) {
  check(m >= 1 && plan.unit > 0, "activations of no rows or without a plan");
  check(!plan.pairs || plan.fixed == 0, "tables with a scale found beforehand");
  const int64_t R = m <= kRowsLimit || plan.pairs ? 1
                    : plan.int8                   ? kernels.int_rows
                                                  : kernels.float_rows;
  const int64_t panels = (m + R - 1) / R, rows = panels * R, units = plan.units();
  out.plan_ = plan;
  out.m_ = m;
  out.rows_per_panel_ = R;
  out.bias_ = R == 1 ? uint8_t{0} : kernels.panel_bias;
  out.wide_ = R > 1 && plan.wide && kernels.wide_panels;
  const int64_t sum = plan.group != 0 ? plan.group : plan.unit;
  out.depth_ = kernels.int_depth < kTileCols                 ? 4
               : sum % 64 == 0 && plan.padded_cols % 64 == 0 ? 64
                                                             : 32;
  // Waking a pool costs more than preparing a few rows.
  const auto spread = [&](const auto& range) {
    if (pool != nullptr && m * plan.cols >= 32768)
      pool->split(panels, range);
    else
      range(0, panels);
  };
  if (plan.int8) {
    const auto fill = plan.pairs ? kernels.tabulate : kernels.quantize;
    out.values_.grow(rows * plan.padded_cols * (plan.pairs ? 8 : out.wide_ ? 2 : 1));
    out.scales_.grow(rows * units * 4);
    out.sums_.grow(rows * units * 4);
    spread([&](int64_t begin, int64_t end) {
      fill({.x = x,
            .ldx = ldx,
            .m = m,
            .cols = plan.cols,
            .padded_cols = plan.padded_cols,
            .unit = plan.unit,
            .units = units,
            .block = plan.block,
            .fixed = plan.fixed,
            .rows_per_panel = R,
            .depth = out.depth_,
            .wide = out.wide_,
            .codes = reinterpret_cast<int8_t*>(out.values_.data),
            .a = reinterpret_cast<float*>(out.scales_.data),
            .sums = reinterpret_cast<int32_t*>(out.sums_.data),
            .row_begin = begin * R,
            .row_end = std::min(m, end * R)});
    });
  } else {
    out.values_.grow(rows * plan.padded_cols * 4);
    spread([&](int64_t begin, int64_t end) {
      auto* values = reinterpret_cast<float*>(out.values_.data);
      for (int64_t panel = begin; panel < end; ++panel) {
        float* to = values + panel * R * plan.padded_cols;
        const float* from = x + panel * R * ldx;
        if (R == 1) {
          std::memcpy(to, from, static_cast<size_t>(plan.cols) * 4);
          std::memset(to + plan.cols, 0, static_cast<size_t>(plan.padded_cols - plan.cols) * 4);
        } else {
          pack_panel(from, ldx, std::min(R, m - panel * R), R, plan.cols, plan.padded_cols, to);
        }
      }
    });
  }
}

int Activations::code(int64_t m, int64_t k) const {
  const int64_t R = rows_per_panel_, panel = m / R * R * plan_.padded_cols, d = depth_;
  if (wide_)
    return reinterpret_cast<const int16_t*>(
        codes())[panel + k / 4 * 4 * R + k % 2 * 2 * R + m % R * 2 + k % 4 / 2];
  const int8_t code = codes()[panel + (R == 1 ? k : k / d * d * R + m % R * d + k % d)];
  return static_cast<int8_t>(static_cast<uint8_t>(code) ^ bias_);
}

int Activations::table(int64_t m, int64_t pair, int64_t codes) const {
  const auto* tables = reinterpret_cast<const uint8_t*>(values_.data);
  return tables[(m * plan_.padded_cols / 2 + pair) * 16 + codes] - 128;
}

float Activations::scale(int64_t m, int64_t unit) const {
  const int64_t R = rows_per_panel_;
  return scales()[m / R * R * plan_.units() + unit * R + m % R];
}

int Activations::sum(int64_t m, int64_t unit) const {
  const int64_t R = rows_per_panel_;
  if (plan_.pairs) return sums()[m * plan_.units() + unit];
  const int32_t halves = sums()[m / R * R * plan_.units() + unit * R + m % R];
  return static_cast<int16_t>(halves & 0xffff) + (halves >> 16);
}

float Activations::value(int64_t m, int64_t k) const {
  if (plan_.int8) return static_cast<float>(code(m, k)) * scale(m, k / plan_.unit);
  const int64_t R = rows_per_panel_;
  return values()[m / R * R * plan_.padded_cols + k * R + m % R];
}

}  // namespace halftone::kernel
