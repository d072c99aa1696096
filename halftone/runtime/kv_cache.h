// Keys and values of one sequence, in the tile form that the float kernels read: attention is then
// two matrix products.
//
// Memory comes in blocks of 256 tokens for all layers, taken as the sequence grows. Within a block,
// for each layer and kv head:
//     keys    [16 tiles][dim][16 tokens]         scores = q K^T: a tile's rows are tokens
//     values  [dim / 16 tiles][256 tokens][16]   out = p V: rows are dimensions, columns tokens
// in f32, f16, or int8: the tiles of 8-bit codes (kernel/tiles.h, zero-point 128) with a scale for
// each token, the largest value over 127. A token's scale of keys is that of its row; that of
// values belongs to a column, so the caller multiplies p by value_scales() before p V. Tokens are
// rounded one by one: what a query sees does not depend on how tokens came. In bf16 both are pairs
// of columns (kernel::Bf16Tiles): keys [16 tiles][dim / 2][16 tokens][2], values [dim / 16
// tiles][128 pairs of tokens][16][2], dim padded to 32 with zeros, and close() zeroes the values
// that no token has written yet in the last step of 32.
//
// One thread writes a given (layer, head, 32 tokens) at a time; reading is safe from many threads.
#pragma once

#include <cstdint>
#include <memory>
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
  // `type` is f32, f16, bf16 or i8 (then dim <= 256).
  KvCache(std::vector<KvShape> layers, KvType type);

  // Room for tokens [0, count), of which those from `from` on may be written: a block there that
  // another cache shares is copied first. Memory is kept until `release`.
  void reserve(int64_t from, int64_t count);
  // Becomes a cache of the first `tokens` tokens of `other`, of the same layers and type: whole
  // blocks are shared until one of the two writes to them, the last one is copied.
  void share(const KvCache& other, int64_t tokens);
  void release();                           // gives the memory back
  uint64_t bytes() const;                   // a shared block counts in each cache that has it
  uint64_t bytes_for(int64_t count) const;  // with room for so many

  // k and v f32 [dim] of one token.
  void write(int64_t layer, int64_t head, int64_t token, const float* k, const float* v,
             const kernel::Kernels& kernels) noexcept;
  // After the last of some writes: tokens from `end` on are forgotten, so that none of them, nor
  // what memory held before, is a factor of a product.
  void close(int64_t layer, int64_t head, int64_t end) noexcept;

  // The first `tokens` (at most 256) of block `block`, as weights: keys [tokens, dim], values [dim,
  // tokens].
  kernel::Tiles keys(int64_t layer, int64_t head, int64_t block, int64_t tokens) const noexcept;
  kernel::Tiles values(int64_t layer, int64_t head, int64_t block, int64_t tokens) const noexcept;
  // f32 [256] of a block; null where values carry no scale.
  const float* value_scales(int64_t layer, int64_t head, int64_t block) const noexcept;
  // The same of a bf16 cache, from a block's token `from` on, a multiple of 32: keys [256 - from,
  // padded(dim)], values [dim, 256 - from].
  kernel::Bf16Tiles key_pairs(int64_t layer, int64_t head, int64_t block,
                              int64_t from) const noexcept;
  kernel::Bf16Tiles value_pairs(int64_t layer, int64_t head, int64_t block,
                                int64_t from) const noexcept;
  KvType type() const { return type_; }
  // Columns of tiles of `cols`: codes and bf16 are padded to 32.
  int64_t padded(int64_t cols) const noexcept;

 private:
  // Tiles at byte `offset` of a block as kernels take them.
  kernel::Tiles tiles_at(int64_t block, int64_t offset, int64_t rows, int64_t cols,
                         int64_t tile_bytes) const noexcept;
  struct Place {
    int64_t keys, values, scales;  // bytes from the start of a block, of head 0
    int64_t keys_stride, values_stride;
    int64_t key_tile, value_tile;  // bytes
  };
  void write_pairs(const KvShape& shape, const Place& p, std::byte* block, int64_t head, int64_t t,
                   const float* k, const float* v, const kernel::Kernels& kernels) noexcept;
  void write_codes(const KvShape& shape, const Place& p, std::byte* block, int64_t head, int64_t t,
                   const float* k, const float* v, const kernel::Kernels& kernels) noexcept;
  std::vector<KvShape> layers_;
  std::vector<Place> places_;
  KvType type_;
  int64_t element_, block_bytes_ = 0;
  std::vector<std::shared_ptr<HostTensor>> blocks_;
};

}  // namespace halftone::runtime
