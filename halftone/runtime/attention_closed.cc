// Attention over the closed blocks of a cache: codes as they are meet queries and probabilities
// that their columns' scales were multiplied into. What the columns' offsets give is the same for
// all keys, or all dims, of a group: a number for each row, added behind.
#include <algorithm>
#include <array>
#include <cstring>

#include "halftone/base/half.h"
#include "halftone/runtime/attention_steps.h"

namespace halftone::runtime {
namespace {

constexpr int64_t kLanes = kernel::kTileRows;

// A fixed order of additions: elements by lanes of 16, halves added to halves.
float sum(const kernel::VectorOps& ops, float* x, int64_t n) {
  int64_t lanes = (n + kLanes - 1) / kLanes;
  std::fill(x + n, x + lanes * kLanes, 0.0f);
  while (lanes > 1) {
    const int64_t kept = (lanes + 1) / 2, moved = lanes - kept;
    ops.add(x, x + kept * kLanes, moved * kLanes, x);
    lanes = kept;
  }
  float out = 0;
  ops.lanes_sum(x, 1, &out);
  return out;
}

void widen(const uint16_t* x, int64_t n, float* y) {
  for (int64_t i = 0; i < n; ++i) y[i] = bf16_to_f32(x[i]);
}

// Rows of x [rows, n] meet columns: scaled into `scaled` [rows, n], their offsets into `offsets`.
void meet(const kernel::VectorOps& ops, const ClosedPart& part, const float* x, int64_t rows,
          int64_t n, std::vector<float>& scaled, std::vector<float>& offsets) {
  // Behind the rows: columns' scales, columns' offsets, products.
  const int64_t wide = (n + kLanes - 1) / kLanes * kLanes;
  scaled.resize(std::max(scaled.size(), static_cast<size_t>(rows * n + 3 * wide)));
  offsets.resize(std::max(offsets.size(), static_cast<size_t>(rows)));
  float *to = scaled.data(), *scale = to + rows * n, *offset = scale + wide,
        *products = offset + wide;
  widen(part.scales, n, scale);
  widen(part.offsets, n, offset);
  for (int64_t r = 0; r < rows; ++r, x += n, to += n) {
    ops.multiply(x, scale, n, to);
    ops.multiply(x, offset, n, products);
    offsets[static_cast<size_t>(r)] = sum(ops, products, n);
  }
}

constexpr auto kOnes = [] {
  std::array<float, std::max(kMaxKeyGroup, kMaxValueGroup)> ones{};
  for (float& x : ones) x = 1;
  return ones;
}();

}  // namespace

// out [rows, part.codes.rows], rows `stride` apart = x [rows, part.codes.cols] times what the part's
// codes stand for.
void AttentionRunner::multiply_closed(const ClosedPart& part, const float* x, int64_t rows,
                                      Scratch& s, float* out, int64_t stride) const {
  const kernel::VectorOps& ops = *kernels_.vector;
  const int64_t n = part.codes.cols;
  meet(ops, part, x, rows, n, s.scaled, s.offsets);
  kernel::prepare(s.scaled_rows, kernels_, plain(n, part.codes.padded_cols), s.scaled.data(), rows,
                  n);
  product(kernels_, part.codes, s.scaled_rows, out, stride);
  for (int64_t r = 0; r < rows; ++r)
    ops.axpy(s.offsets[static_cast<size_t>(r)], kOnes.data(), part.codes.rows, out + r * stride);
}

// Scores [rows, 256] of a block.
void AttentionRunner::score_closed(const Task& task, Scratch& s, int64_t block,
                                   int64_t rows) const {
  const KvCache& cache = *task.call->cache;
  const ClosedBlock& form = cache.closed_form(task.call->layer);
  for (int64_t g = 0; g < form.key_groups(); ++g)
    multiply_closed(cache.closed_keys(task.call->layer, task.head, block, g), s.q.data(), rows, s,
                    s.scores.data() + g * form.key_group(), kKvBlock);
}

// block_out [rows, dim] = exp(scores - m) times the block's values.
void AttentionRunner::average_closed(const Task& task, Scratch& s, int64_t block,
                                     int64_t rows) const {
  const KvCache& cache = *task.call->cache;
  const ClosedBlock& form = cache.closed_form(task.call->layer);
  for (int64_t g = 0; g < form.value_groups(); ++g)
    multiply_closed(cache.closed_values(task.call->layer, task.head, block, g), s.scores.data(),
                    rows, s, s.block_out.data() + g * form.value_group(),
                    task.call->attention->head_dim);
}

}  // namespace halftone::runtime
