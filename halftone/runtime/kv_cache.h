// Keys and values of one sequence, in the tile form that the kernels read: attention is then two
// matrix products.
//
// A cache is a list of blocks of 256 tokens for all layers, taken as the sequence grows. A block is
// open or closed. Open: floats, token by token, as tokens come. For each layer and kv head:
//     keys    [16 tiles][dim][16 tokens]         scores = q K^T: a tile's rows are tokens
//     values  [dim / 16 tiles][256 tokens][16]   out = p V: rows are dimensions, columns tokens
// in f32 or f16. In bf16 both are pairs of columns (kernel::Bf16Tiles): keys [16 tiles][dim / 2][16
// tokens][2], values [dim / 16 tiles][128 pairs of tokens][16][2], dim padded to 32 with zeros, and
// clear_behind() zeroes the values that no token has written yet in the last step of 32.
//
// Where the format says so, a block is closed when its last token is written: codes of 2 to 8 bits,
// fitted to all of it (closed_block.h). What a query sees does not depend on how tokens come: its
// own block (position / 256) in floats, every block before in codes. So a step that runs over the
// end of a block needs both forms of it; the floats stay until the next step begins. What the last
// step wrote can therefore be taken back, to any token; and anything that lies in the newest block.
// Beyond, a sequence goes back to the beginning of a block: `truncate` and `share` say how far.
//
// One thread writes a given (layer, head, 32 tokens), or closes a given (layer, head, block), at a
// time; reading is safe from many threads.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "halftone/base/tensor.h"
#include "halftone/kernel/kernels.h"
#include "halftone/runtime/closed_block.h"
#include "halftone/runtime/program.h"

namespace halftone::runtime {

class KvCache {
 public:
  // At most `step` tokens are written between two calls of reserve that differ.
  KvCache(std::vector<KvShape> layers, KvFormat format, int64_t step = kKvBlock);

  // Before a step: room for tokens [0, count), of which those from `from` on are written. A block
  // there that another cache shares is copied first. Gives back what no token before `count` needs,
  // the floats of blocks that end before `from` among it. Calling it again changes nothing.
  void reserve(int64_t from, int64_t count);
  // How many of the first `tokens` tokens, all written, the cache can go on from: all, or those
  // before the block that the last of them is in. Memory is kept.
  int64_t truncate(int64_t tokens) const noexcept;
  // Becomes a cache of the first `tokens` tokens of `other`, of the same layers and format, or of
  // as many as other.truncate(tokens) says, which it returns: whole blocks are shared until one of
  // the two writes to them, the last one is copied.
  int64_t share(const KvCache& other, int64_t tokens);
  void release();                           // gives the memory back
  uint64_t bytes() const;                   // a shared block counts in each cache that has it
  uint64_t bytes_for(int64_t count) const;  // the most that so many tokens take

  // k and v f32 [dim] of one token.
  void write(int64_t layer, int64_t head, int64_t token, const float* k, const float* v,
             const kernel::Kernels& kernels) noexcept;
  // After the last of some writes: tokens from `end` on are forgotten, so that none of them, nor
  // what memory held before, is a factor of a product.
  void clear_behind(int64_t layer, int64_t head, int64_t end) noexcept;
  // Makes the closed form of a block, all of whose tokens are written. The open one stays.
  void close(int64_t layer, int64_t head, int64_t block, const kernel::Kernels& kernels) noexcept;
  bool closes() const { return format_.closed != format_.open; }

  // The first `tokens` (at most 256) of block `block`, open, as weights: keys [tokens, dim], values
  // [dim, tokens].
  kernel::Tiles keys(int64_t layer, int64_t head, int64_t block, int64_t tokens) const noexcept;
  kernel::Tiles values(int64_t layer, int64_t head, int64_t block, int64_t tokens) const noexcept;
  // Of a closed block, by group (closed_block.h).
  ClosedPart closed_keys(int64_t layer, int64_t head, int64_t block, int64_t group) const noexcept;
  ClosedPart closed_values(int64_t layer, int64_t head, int64_t block,
                           int64_t group) const noexcept;
  const ClosedBlock& closed_form(int64_t layer) const {
    return closed_[static_cast<size_t>(layer)];
  }
  // The same of a bf16 cache, from a block's token `from` on, a multiple of 32: keys [256 - from,
  // padded(dim)], values [dim, 256 - from].
  kernel::Bf16Tiles key_pairs(int64_t layer, int64_t head, int64_t block,
                              int64_t from) const noexcept;
  kernel::Bf16Tiles value_pairs(int64_t layer, int64_t head, int64_t block,
                                int64_t from) const noexcept;
  KvFormat format() const { return format_; }
  // Columns of open tiles of `cols`: bf16 is padded to 32.
  int64_t padded(int64_t cols) const noexcept;

 private:
  // Tiles at byte `offset` of an open block as kernels take them.
  kernel::Tiles tiles_at(int64_t block, int64_t offset, int64_t rows, int64_t cols,
                         int64_t tile_bytes) const noexcept;
  struct Place {
    int64_t keys, values;  // bytes from the start of an open block, of head 0
    int64_t keys_stride, values_stride;
    int64_t key_tile, value_tile;  // bytes
    int64_t closed;                // bytes from the start of a closed block, of head 0
  };
  struct Block {
    std::shared_ptr<HostTensor> open, closed;
  };
  std::byte* open_bytes(int64_t block) const noexcept;
  std::byte* closed_bytes(int64_t layer, int64_t head, int64_t block) const noexcept;
  void write_pairs(const KvShape& shape, const Place& p, std::byte* block, int64_t head, int64_t t,
                   const float* k, const float* v, const kernel::Kernels& kernels) noexcept;
  std::vector<KvShape> layers_;
  std::vector<Place> places_;
  std::vector<ClosedBlock> closed_;  // by layer, where blocks are closed
  KvFormat format_;
  int64_t step_, element_, open_bytes_ = 0, closed_bytes_ = 0;
  std::vector<Block> blocks_;
  std::vector<std::shared_ptr<HostTensor>> spare_;  // of open blocks; empty between calls
};

}  // namespace halftone::runtime
