// The reference: every product as the formulas of matmul.h say it, one element at a time. Slow and
// right; also what runs on machines for which there is nothing better.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "halftone/base/half.h"
#include "halftone/kernel/codes.h"
#include "halftone/kernel/entries.h"

namespace halftone::kernel::scalar {
namespace {

float load_float(const uint8_t* p) {
  float value = 0;
  std::memcpy(&value, p, 4);
  return value;
}

uint16_t load_half(const uint8_t* p) {
  uint16_t value = 0;
  std::memcpy(&value, p, 2);
  return value;
}

float scale_at(const Tiles& w, const uint8_t* tile, int64_t group, int64_t r) {
  const int64_t at = group * kTileRows + r;
  return w.scales_f32 ? load_float(tile + at * 4) : f16_to_f32(load_half(tile + at * 2));
}

// Sum of both halves of IntMatmul::sums.
int32_t whole(int32_t halves) { return static_cast<int16_t>(halves & 0xffff) + (halves >> 16); }

int zero_at(const Tiles& w, const uint8_t* tile, int64_t group, int64_t r) {
  return w.zeros_offset >= 0 ? tile[w.zeros_offset + group * kTileRows + r] : w.zero;
}

// The value that meets x: the code without its zero-point, or the dense weight.
float weight_at(const Tiles& w, const uint8_t* tile, int64_t r, int64_t k) {
  const int64_t at = k * kTileRows + r;
  switch (w.store) {
    case Store::f32:
      return load_float(tile + at * 4);
    case Store::f16:
      return f16_to_f32(load_half(tile + at * 2));
    case Store::bf16:
      return bf16_to_f32(load_half(tile + at * 2));
    case Store::codes:
      break;
  }
  const int code = code_at(w, tile, r, k);
  if (w.book != 0) return w.value[code];
  return static_cast<float>(code - zero_at(w, tile, k / w.group, r));
}

void int_product(const IntMatmul& job, int64_t R) {
  const Tiles& w = job.w;
  for (int64_t tile = job.tile_begin; tile < job.tile_end; ++tile) {
    const uint8_t* base = w.data + tile * w.tile_bytes;
    for (int64_t r = 0; r < std::min(kTileRows, w.rows - tile * kTileRows); ++r) {
      float* y = job.y + tile * kTileRows + r;
      for (int64_t m = 0; m < job.m; ++m) y[m * job.ldy] = 0;
      std::vector<int32_t> group_sums(w.sub_offset < 0 ? 0 : static_cast<size_t>(job.m));
      for (int64_t u = 0; u < job.units; ++u) {
        const int64_t begin = u * job.unit, end = std::min(begin + job.unit, w.padded_cols),
                      group = u / job.units_per_group;
        const bool last = u + 1 == job.units || (u + 1) % job.units_per_group == 0;
        int codes[kMaxUnit];
        for (int64_t k = begin; k < end; ++k) {
          const int code = code_at(w, base, r, k);
          codes[k - begin] = w.book != 0 ? w.level[code] : code;
        }
        const int zero = zero_at(w, base, group, r);
        const float s = scale_at(w, base, group, r) * w.step;
        for (int64_t m = 0; m < job.m; ++m) {
          const int64_t panel = m / R * R, i = m % R, at = panel * job.units + u * R + i;
          int32_t sum = -zero * whole(job.sums[at]);
          const int8_t* x = job.x + panel * w.padded_cols;
          for (int64_t k = begin; k < end; ++k)
            sum += codes[k - begin] * (R == 1 ? x[k] : x[k / 4 * 4 * R + i * 4 + k % 4]);
          if (w.sub_offset >= 0) {
            int32_t& all = group_sums[static_cast<size_t>(m)];
            all += sum * base[w.sub_offset + begin / w.sub * kTileRows + r];
            if (!last) continue;
            sum = std::exchange(all, 0);
          }
          y[m * job.ldy] = std::fma(static_cast<float>(sum), s * job.a[at], y[m * job.ldy]);
        }
      }
    }
  }
}

void float_product(const FloatMatmul& job, int64_t R) {
  const Tiles& w = job.w;
  for (int64_t tile = job.tile_begin; tile < job.tile_end; ++tile) {
    const uint8_t* base = w.data + tile * w.tile_bytes;
    for (int64_t r = 0; r < std::min(kTileRows, w.rows - tile * kTileRows); ++r) {
      float* y = job.y + tile * kTileRows + r;
      for (int64_t m = 0; m < job.m; ++m) y[m * job.ldy] = 0;
      for (int64_t u = 0; u < job.units; ++u) {
        const int64_t begin = u * job.unit, end = std::min(begin + job.unit, w.padded_cols);
        float weights[kMaxUnit];
        for (int64_t k = begin; k < end; ++k) weights[k - begin] = weight_at(w, base, r, k);
        const float s =
            w.store == Store::codes ? scale_at(w, base, u / job.units_per_group, r) : 1.0f;
        for (int64_t m = 0; m < job.m; ++m) {
          const float* x = job.x + m / R * R * w.padded_cols + m % R;
          float p = 0;
          for (int64_t k = begin; k < end; ++k) p = std::fma(weights[k - begin], x[k * R], p);
          y[m * job.ldy] = std::fma(s, p, y[m * job.ldy]);
        }
      }
    }
  }
}

}  // namespace

void quantize(const Quantize& job) noexcept {
  const int64_t R = job.rows_per_panel;
  for (int64_t row = job.row_begin; row < (job.row_end + R - 1) / R * R; ++row) {
    const int64_t panel = row / R * R, i = row % R;
    int8_t* codes = job.codes + panel * job.padded_cols;
    const auto code = [&](int64_t k) -> int8_t& {
      return codes[R == 1 ? k : k / 4 * 4 * R + i * 4 + k % 4];
    };
    for (int64_t begin = 0; begin < job.padded_cols; begin += job.block) {
      const int64_t end = std::min(begin + job.block, job.padded_cols);
      const int64_t filled = row < job.m ? std::min(end, job.cols) : begin;
      const float* x = job.x + row * job.ldx;
      uint32_t bits = 0;  // of max|x|: as integers, NaN is above infinity and is not lost
      for (int64_t k = begin; k < filled; ++k)
        bits = std::max(bits, std::bit_cast<uint32_t>(x[k]) & 0x7fffffffu);
      const float most = std::bit_cast<float>(bits);
      const bool fixed = job.fixed > 0;
      const bool finite = bits < 0x7f800000u, zero = !finite || (!fixed && most < kLeastActivation);
      const float a = !finite ? std::bit_cast<float>(0x7fc00000u)
                      : fixed ? job.fixed
                      : zero  ? 0.0f
                              : most / 127.0f;
      const float inverse = zero ? 0.0f : fixed ? 1.0f / job.fixed : 127.0f / most;
      for (int64_t u = begin / job.unit; u * job.unit < end; ++u) {
        int32_t half[2] = {};
        for (int64_t k = u * job.unit; k < std::min(end, (u + 1) * job.unit); ++k) {
          const float q = k < filled && !zero ? std::nearbyint(x[k] * inverse) : 0.0f;
          code(k) = static_cast<int8_t>(std::clamp(q, -127.0f, 127.0f));
          half[k % 4 / 2] += code(k);
        }
        job.a[panel * job.units + u * R + i] = a;
        job.sums[panel * job.units + u * R + i] = (half[0] & 0xffff) | (half[1] * 65536);
      }
    }
  }
}

void tabulate(const Quantize& job) noexcept {
  for (int64_t row = job.row_begin; row < job.row_end; ++row) {
    for (int64_t u = 0; u < job.units; ++u) {
      const int64_t begin = u * job.unit, end = std::min(begin + job.unit, job.padded_cols);
      const auto x = [&](int64_t k) { return k < job.cols ? job.x[row * job.ldx + k] : 0.0f; };
      uint32_t bits = 0;  // as in quantize: NaN is not lost
      for (int64_t k = begin; k < end; k += 2) {
        const float sum = 0.5f * std::abs(x(k)) + 0.5f * std::abs(x(k + 1));
        bits = std::max(bits, std::bit_cast<uint32_t>(sum) & 0x7fffffffu);
      }
      const float most = std::bit_cast<float>(bits);
      const bool finite = bits < 0x7f800000u, zero = !finite || most < kLeastActivation;
      const float inverse = zero ? 0.0f : kPairRange / most;
      int32_t sum = 0;
      for (int64_t k = begin; k < end; k += 2) {
        int32_t pair[2];
        for (int64_t i = 0; i < 2; ++i)
          sum += pair[i] = zero ? 0 : static_cast<int32_t>(std::nearbyint(x(k + i) * inverse));
        int8_t* table = job.codes + (row * job.padded_cols + k) * 8;
        for (int codes = 0; codes < 16; ++codes) {
          const int32_t both =
              (2 * (codes % 4) - 3) * pair[0] + (2 * (codes / 4) - 3) * pair[1] + 128;
          table[codes] = static_cast<int8_t>(static_cast<uint8_t>((both >> 8) + 128));
        }
      }
      job.a[row * job.units + u] = !finite ? std::bit_cast<float>(0x7fc00000u)
                                   : zero  ? 0.0f
                                           : most / (2 * kPairRange);
      job.sums[row * job.units + u] = sum;
    }
  }
}

void matmul_pairs(const IntMatmul& job) noexcept {
  const Tiles& w = job.w;
  for (int64_t tile = job.tile_begin; tile < job.tile_end; ++tile) {
    const uint8_t* base = w.data + tile * w.tile_bytes;
    for (int64_t r = 0; r < std::min(kTileRows, w.rows - tile * kTileRows); ++r) {
      for (int64_t m = 0; m < job.m; ++m) {
        const auto* tables = reinterpret_cast<const uint8_t*>(job.x) + m * w.padded_cols * 8;
        float y = 0;
        for (int64_t u = 0; u < job.units; ++u) {
          const int64_t begin = u * job.unit, end = std::min(begin + job.unit, w.padded_cols),
                        group = u / job.units_per_group, at = m * job.units + u;
          int32_t sum = 0;
          for (int64_t k = begin; k < end; k += 2)
            sum += tables[k * 8 + code_at(w, base, r, k) + 4 * code_at(w, base, r, k + 1)] - 128;
          const int32_t d = 256 * sum - (2 * zero_at(w, base, group, r) - 3) * job.sums[at];
          y = std::fma(static_cast<float>(d), scale_at(w, base, group, r) * job.a[at], y);
        }
        job.y[m * job.ldy + tile * kTileRows + r] = y;
      }
    }
  }
}

void matmul_bf16(const Bf16Matmul& job) noexcept {
  for (int64_t tile = job.tile_begin; tile < job.tile_end; ++tile)
    for (int64_t r = 0; r < std::min(kTileRows, job.w.rows - tile * kTileRows); ++r)
      for (int64_t m = 0; m < job.m; ++m) {
        float sum = 0;
        for (int64_t begin = 0; begin < job.k; begin += kBf16Step) {
          const uint16_t* x = job.x + m * job.ldx + begin;
          const uint16_t* w = job.w.data + tile * job.w.stride + begin * kTileRows + r * 2;
          float even = 0, odd = 0;
          for (int64_t k = 0; k < kBf16Step; k += 2) {
            even = std::fma(bf16_to_f32(w[k * kTileRows]), bf16_to_f32(x[k]), even);
            odd = std::fma(bf16_to_f32(w[k * kTileRows + 1]), bf16_to_f32(x[k + 1]), odd);
          }
          sum += even + odd;
        }
        job.y[m * job.ldy + tile * kTileRows + r] = sum;
      }
}

void gemv_int(const IntMatmul& job) noexcept { int_product(job, 1); }
void gemm_int(const IntMatmul& job) noexcept { int_product(job, kPanelRows); }
void gemv_float(const FloatMatmul& job) noexcept { float_product(job, 1); }
void gemm_float(const FloatMatmul& job) noexcept { float_product(job, kPanelRows); }

}  // namespace halftone::kernel::scalar
