// What attention in floats (attention.cc), in bf16 (attention_bf16.cc) and over closed blocks
// (attention_closed.cc) share. Internal to runtime/.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "halftone/base/tensor.h"
#include "halftone/kernel/activations.h"
#include "halftone/runtime/attention.h"

namespace halftone::runtime {

inline constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// A worker's buffers, kept from call to call.
struct AttentionRunner::Scratch {
  kernel::Activations queries, weights, scaled_rows;
  std::vector<float> q, scores, block_out, out, m, l, block_m, block_l;
  std::vector<float> scaled, offsets;  // rows times a closed block's scales; their offsets
  HostTensor q_bf16, p_bf16, scores_bf16, lanes;  // aligned to lines
  std::vector<double> slopes;
  int64_t settled_rows = 0;
};

// y [x.rows, w.rows] = x w^T; y's rows are ldy apart.
void product(const kernel::Kernels& kernels, const kernel::Tiles& w, const kernel::Activations& x,
             float* y, int64_t ldy);
// How rows of `cols` floats meet such weights.
inline kernel::ActivationPlan plain(int64_t cols, int64_t padded) {
  return {.int8 = false, .cols = cols, .padded_cols = padded, .unit = kernel::kMaxUnit, .block = 0};
}

// Folds (m, l, o) of a block of keys into the running ones, row by row; o is `dim` wide, `ld`
// apart. Running rows that saw nothing yet are (-infinity, 0, zeros).
struct RowResults {
  float *m, *l, *o;
  int64_t ld;
};
void merge_rows(const kernel::VectorOps& ops, int64_t rows, int64_t dim, const RowResults& block,
                const RowResults& all);

// o / l; a query that sees nothing (all padding) gives zeros.
inline void finish(const kernel::VectorOps& ops, const float* o, float l, int64_t dim, float* out) {
  ops.scale(o, l > 0 ? 1.0f / l : 0.0f, dim, out);
}

}  // namespace halftone::runtime
