// Random problems for the kernel tests, and every table of kernels that can run here.
#pragma once

#include <cmath>
#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "halftone/base/half.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"
#include "halftone/kernel/isa.h"
#include "halftone/kernel/matmul.h"

namespace halftone::kernel::testing {

inline std::vector<const Kernels*> tables_here() {
  std::vector<const Kernels*> tables;
  for (const Isa isa : usable_isas()) tables.push_back(&kernels_for(isa));
#if defined(HALFTONE_EMULATED_AVX512)
  tables.push_back(&kernels_avx512_emulated());
  tables.push_back(&kernels_amx_emulated());
#endif
  return tables;
}

struct Case {
  int bits = 4;
  int64_t n = 16, k = 64, group = 32, m = 1;
  bool zeros = false;
  ScaleType scales = ScaleType::f16;
  int64_t block = 64;
  int64_t super = 0;  // two-level scales
  bool pairs = false;
};

inline std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << "W" << c.bits << " N" << c.n << " K" << c.k << " g" << c.group << " M" << c.m
             << (c.zeros ? " zeros" : "") << (c.scales == ScaleType::f32 ? " f32" : "") << " block"
             << c.block << (c.super != 0 ? " super" + std::to_string(c.super) : "")
             << (c.pairs ? " pairs" : "");
}

// Plain codes, scales, zero-points and activations; what a kernel must reproduce is computed from
// these, never from tiles.
struct Problem {
  Case shape;
  int64_t groups = 1;
  std::vector<uint8_t> codes, zeros;
  std::vector<float> scales, x;
  TileSpec spec;

  explicit Problem(const Case& c, uint64_t seed = 1) : shape(c) {
    const int64_t group = c.group == 0 ? c.k : c.group;
    groups = (c.k + group - 1) / group;
    const CounterRng random(seed, static_cast<uint32_t>(c.n), static_cast<uint32_t>(c.k));
    const uint32_t top = (1u << c.bits) - 1;
    codes.resize(static_cast<size_t>(c.n * c.k));
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(random.u32(i) & top);
    const CounterRng more(seed + 1);
    scales.resize(static_cast<size_t>(c.n * groups));
    for (size_t i = 0; i < scales.size(); ++i) {
      const bool negative = i % 7 == 3 && c.super == 0;
      const float s = static_cast<float>(0.01 + more.uniform(i)) * (negative ? -1.0f : 1.0f);
      scales[i] = i % 11 == 5                  ? 0.0f
                  : c.scales == ScaleType::f16 ? f16_to_f32(f32_to_f16(s))
                                               : s;  // some groups are zero
    }
    if (c.zeros) {
      zeros.resize(scales.size());
      for (size_t i = 0; i < zeros.size(); ++i)
        zeros[i] = static_cast<uint8_t>(more.u32(1000 + i) & top);
    }
    x.resize(static_cast<size_t>(c.m * c.k));
    const CounterRng normal(seed + 2);
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = static_cast<float>(normal.normal(i) * (i % 97 == 0 ? 20 : 1));  // outliers
    spec = {.rows = c.n,
            .cols = c.k,
            .bits = c.bits,
            .group = c.group,
            .scales = c.scales,
            .zeros = c.zeros,
            .zero = 1 << (c.bits - 1),
            .super = c.super,
            .pairs = c.pairs};
  }

  TiledWeights tiled(ThreadPool* pool = nullptr) const {
    return TiledWeights::from_codes(spec, codes, scales, zeros, pool);
  }
  int64_t group_of(int64_t k) const { return shape.group == 0 ? 0 : k / shape.group; }
  float scale(int64_t n, int64_t k) const {
    return scales[static_cast<size_t>(n * groups + group_of(k))];
  }
  int zero(int64_t n, int64_t k) const {
    return shape.zeros ? zeros[static_cast<size_t>(n * groups + group_of(k))] : spec.zero;
  }
  int code(int64_t n, int64_t k) const { return codes[static_cast<size_t>(n * shape.k + k)]; }
};

inline std::vector<float> multiply(const Kernels& kernels, const TiledWeights& w,
                                   const Activations& x) {
  std::vector<float> y(static_cast<size_t>(x.rows() * w.rows()), -12345.0f);
  matmul(kernels, w, x, y.data(), w.rows(), 0, w.tiles());
  return y;
}

inline std::vector<float> multiply(const Kernels& kernels, const TiledWeights& w,
                                   const ActivationPlan& plan, const std::vector<float>& x,
                                   int64_t m) {
  Activations prepared;
  prepare(prepared, kernels, plan, x.data(), m, w.cols());
  return multiply(kernels, w, prepared);
}

}  // namespace halftone::kernel::testing
