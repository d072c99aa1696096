// Keys and values of one sequence, in the tile form that the float kernels read: attention is then
// two matrix products.
//
// Memory comes in blocks of 256 tokens for all layers, taken as the sequence grows. Within a block,
// for each layer and kv head:
//     keys    [16 tiles][dim][16 tokens]         scores = q K^T: a tile's rows are tokens
//     values  [dim / 16 tiles][256 tokens][16]   out = p V: rows are dimensions, columns tokens
// in f32 or f16. One thread writes a given (layer, head, 16-token tile) at a time; reading is safe
// from many threads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "halftone/base/tensor.h"
#include "halftone/kernel/kernels.h"
#include "halftone/runtime/program.h"

namespace halftone::runtime {

inline constexpr int64_t kKvBlock = 256;  // also the partial sums' length of the float kernels:
                                          // results do not depend on how many tokens follow

class KvCache {
 public:
  KvCache(std::vector<KvShape> layers, bool f16);

  // Room for tokens [0, count). Memory is kept until `release`.
  void reserve(int64_t count);
  void release();  // gives the memory back
  uint64_t bytes() const;
  uint64_t bytes_for(int64_t count) const;  // with room for so many

  // k and v f32 [dim] of one token.
  void write(int64_t layer, int64_t head, int64_t token, const float* k, const float* v,
             const kernel::VectorOps& ops) noexcept;

  // The first `tokens` (at most 256) of block `block`, as weights: keys [tokens, dim], values [dim,
  // tokens].
  kernel::Tiles keys(int64_t layer, int64_t head, int64_t block, int64_t tokens) const noexcept;
  kernel::Tiles values(int64_t layer, int64_t head, int64_t block, int64_t tokens) const noexcept;

 private:
  // Dense tiles at byte `offset` of a block as kernels take them; `tile_cols` of them lie between
  // two tiles.
  kernel::Tiles tiles_at(int64_t block, int64_t offset, int64_t rows, int64_t cols,
                         int64_t tile_cols) const noexcept;
  struct Place {
    int64_t keys, values;  // bytes from the start of a block, of head 0
    int64_t keys_stride, values_stride;
    int64_t padded_dim;
  };
  std::vector<KvShape> layers_;
  std::vector<Place> places_;
  bool f16_;
  int64_t element_, block_bytes_ = 0;
  std::vector<HostTensor> blocks_;
};

}  // namespace halftone::runtime
