// The left side of a matrix product, prepared once for every linear that reads it (q, k and v; gate
// and up).
//
// int8: each block of k of a row becomes int8 codes round_half_even(x * 127 / max|x|)
// in -127..127 with the scale a = max|x| / 127; with them, per unit (the k of one integer sum), the
// sum of the codes, which carries the zero-points. The same integers on every instruction set. A
// block whose max|x| is below 2^-100 counts as zero. float ("exact" mode and dense weights): the
// values themselves. tables: for each pair of k, what it adds to a sum for each of the 16 pairs of
// 2-bit codes, 8 bytes a k.
//
// Layout in memory is private to the kernels: rows as they are for m <= kRowsLimit and of tables,
// else panels of R rows, R by instruction set. An Activations object is a reusable buffer: memory
// grows to the largest use and stays. One thread calls prepare, any number read.
//
//     ActivationPlan plan = plan_int8(w.view(), 64);          // once per linear, at load
//     Activations x;
//     prepare(x, kernels, plan, hidden, tokens, stride, pool);  // once per distinct input
//     matmul(kernels, wq, x, q, stride_q, pool);              // matmul.h
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "halftone/kernel/kernels.h"
#include "halftone/kernel/tiles.h"

namespace halftone::kernel {

struct ActivationPlan {
  bool int8 = false;
  bool pairs = false;                 // int8, as tables: for weights in pairs
  int64_t cols = 0, padded_cols = 0;  // K
  int64_t unit = 0;                   // k of one sum
  int64_t block = 0;  // int8: k sharing one activation scale, a multiple of unit or the unit itself
  bool wide = false;  // int8: for weights with wide_codes()
  int64_t group = 0;  // weights with two-level scales: theirs, over which sums run; else 0
  // int8: one scale for all that is ever multiplied (static, one for the tensor), found beforehand;
  // larger values are cut off at 127 times it. 0: each block has its own.
  float fixed = 0;
  int64_t units() const { return (padded_cols + unit - 1) / unit; }
  bool operator==(const ActivationPlan&) const = default;
};

// Activations as int8 for low-bit weights. `block` is the wish (32..256, multiple of 32, or
// kWholeRow: one scale for each token): where it
// is shorter than the group the sums are shortened to it; where it is longer, several units share a
// scale if it is a multiple of the unit, else the unit is the block. Weights with two-level scales
// fix it: it is their group. For weights in pairs a block is a unit, and becomes tables (matmul.h).
// Measured advice: 64 to 128 for b <= 4, 32 to 64 for b = 8 (wider costs
// accuracy, narrower speed).
inline constexpr int64_t kWholeRow = 0;
ActivationPlan plan_int8(const Tiles& w, int64_t block);
// Activations as they are: exact mode of low-bit weights, and dense weights.
ActivationPlan plan_float(const Tiles& w);

class Activations {
 public:
  const ActivationPlan& plan() const { return plan_; }
  int64_t rows() const { return m_; }
  int64_t rows_per_panel() const { return rows_per_panel_; }  // 1: plain rows
  int64_t depth() const { return depth_; }  // int8 panels: k of a row that lie together

  const int8_t* codes() const { return reinterpret_cast<const int8_t*>(values_.data); }
  const float* values() const { return reinterpret_cast<const float*>(values_.data); }
  const float* scales() const { return reinterpret_cast<const float*>(scales_.data); }
  const int32_t* sums() const { return reinterpret_cast<const int32_t*>(sums_.data); }

  // Single elements, whatever the layout; for tests and reports.
  int code(int64_t m, int64_t k) const;
  int table(int64_t m, int64_t pair, int64_t codes) const;  // T of matmul.h, codes = i + 4 j
  float value(int64_t m, int64_t k) const;  // float: x; int8: code * scale; not of tables
  float scale(int64_t m, int64_t unit) const;
  int sum(int64_t m, int64_t unit) const;

 private:
  struct Buffer {
    std::byte* data = nullptr;
    int64_t size = 0;
    Buffer() = default;
    Buffer(Buffer&& other) noexcept;
    Buffer& operator=(Buffer&& other) noexcept;
    ~Buffer();
    void grow(int64_t bytes);  // contents are lost
  };
  friend void prepare(Activations&, const Kernels&, const ActivationPlan&, const float*, int64_t,
                      int64_t, ThreadPool*);
  ActivationPlan plan_;
  int64_t m_ = 0, rows_per_panel_ = 1, depth_ = 4;
  uint8_t bias_ = 0;  // of the codes as they lie in panels
  bool wide_ = false;
  Buffer values_, scales_, sums_;
};

// x f32 [m][plan.cols], row stride ldx (floats). Any alignment. Throws only std::bad_alloc.
void prepare(Activations& out, const Kernels& kernels, const ActivationPlan& plan, const float* x,
             int64_t m, int64_t ldx, ThreadPool* pool = nullptr);

}  // namespace halftone::kernel
