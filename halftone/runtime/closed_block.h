// A closed block of a low-bit KV cache: the keys and values of 256 tokens, one layer and one kv
// head, in codes of 2, 4 or 8 bits fitted to all of them.
//
//   keys    a scale and an offset for each dim and key_group() tokens, because outliers of keys live
//           in channels: k[t][d] = offset[d] + scale[d] * code        (KIVI, arXiv:2402.02750)
//   values  a scale and an offset for each token and value_group() dims:
//           v[t][d] = offset[t] + scale[t] * code
//
// Either way scales belong to the columns of a product. A caller multiplies them into what meets
// the codes (a query, or probabilities), and the offsets give one number for each row and group:
//     q k[t] = sum_d q[d] offset[d] + sum_d (q[d] scale[d]) code[t][d]
// Codes lie in tiles of weights (kernel/tiles.h) with zero-point 0 and scale 1.
//
// In memory, all of it at multiples of 64 bytes:
//     keys    [16 tiles][16 f32 ones, then codes [16 tokens, dim padded to 32]]
//             [256 / key_group()][scales, then offsets: bf16 [dim padded to 32]]
//     values  [dim / 16 tiles][16 f32 ones, then codes [16 dims, 256 tokens]]
//             [dim / value_group()][scales, then offsets: bf16 [256]]
// Bits per number for dims of 64: b + 0.63; of 2 bits 3.3.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "halftone/kernel/kernels.h"

namespace halftone::runtime {

inline constexpr int64_t kKvBlock = 256;  // also the partial sums' length of the float kernels:
                                          // results do not depend on how many tokens follow
// Columns of a product: codes, and what scales and moves them.
struct ClosedPart {
  kernel::Tiles codes;
  const uint16_t *scales, *offsets;  // bf16, one a column
};

// What a code stands for; for tests and reports.
float number(const ClosedPart& part, int64_t row, int64_t col);

inline constexpr int64_t kMaxKeyGroup = kKvBlock, kMaxValueGroup = 64;

class ClosedBlock {
 public:
  ClosedBlock(int64_t dim, int bits);
  int64_t bytes() const { return bytes_; }

  // Fits and writes. A group with a NaN or an infinity becomes NaN.
  //   keys of dim d f32 [256]; values of token t f32 [dims of the group]
  void begin(std::byte* block) const noexcept;  // before the first of the others
  void put_keys(std::byte* block, int64_t d, const float* keys,
                const kernel::Kernels& kernels) const noexcept;
  void put_values(std::byte* block, int64_t t, int64_t group, const float* values,
                  const kernel::Kernels& kernels) const noexcept;

  // Tokens of keys, and dims of values, that share a scale. 2 bits want narrow ones; others would pay
  // for them in speed more than they gain (docs/runtime.md).
  int64_t key_group() const { return bits_ == 2 ? 32 : kMaxKeyGroup; }
  int64_t value_group() const { return bits_ == 2 ? 32 : kMaxValueGroup; }
  int64_t key_groups() const { return kKvBlock / key_group(); }
  int64_t value_groups() const { return (dim_ + value_group() - 1) / value_group(); }
  // Weights [key_group() tokens, dim] of tokens from key_group() * group on.
  ClosedPart keys(const std::byte* block, int64_t group) const noexcept;
  // Weights [at most value_group() dims, 256 tokens] of dims from value_group() * group on.
  ClosedPart values(const std::byte* block, int64_t group) const noexcept;

 private:
  kernel::Tiles tiles(const std::byte* data, int64_t rows, int64_t cols) const noexcept;
  int64_t tile_bytes(int64_t cols) const noexcept;
  void put(std::byte* tiles, int64_t cols, int64_t row, int64_t col, int code) const noexcept;
  int64_t dim_, wide_;  // as it is, padded to 32
  int bits_;
  int64_t key_scales_ = 0, values_ = 0, value_scales_ = 0, bytes_ = 0;
};

}  // namespace halftone::runtime
