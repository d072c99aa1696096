// Weights as kernels read them: row tiles of 16, built once at load from plain codes or plain
// floats.
//
// Low-bit tile (16 rows x K, contiguous, starts 64-byte aligned):
//     [ scales: groups x 16 f16 or f32 ][ sub-scales: ceil(K / sub) x 16 u8, if any ]
//     [ zero-points: groups x 16 u8, if any ][ pad to 64 ][ codes ][ pad to 64 ]
// Codes come in lines of 64 bytes = 16 lanes of 32 bits; lane r is row r and its 4 bytes are 4
// consecutive k (a quad). A byte holds the same k-position of several quads:
//     b=8: 1 line  =  4 k
//     b=4: 1 line  =  8 k  low nibble quad 0, high nibble quad 1
//     b=2: 1 line  = 16 k  2 bits each for quads 0..3
//     b=3: 3 lines = 32 k  line i: bits 0-2 quad 2i, bits 3-5 quad 2i+1, bits 6-7 two bits of t
//                          (line 0 lowest); quad 6 = t & 7, quad 7 = t >> 3
//     b=1: 1 line  = 32 k  a bit each for quads 0..7
//     b=5: 5 lines = 32 k  4 lines of the low 4 bits as b=4, then the high bit as b=1
//     b=6: 6 lines = 32 k  the low 4 bits as b=4, the high two as b=2
//     b=7: 7 lines = 32 k  the low 4 bits as b=4, the next two as b=2, the highest as b=1
// or, b=2 for tables of pairs (TileSpec::pairs), 1 line = 16 k = 4 times 16 bytes, one of each row:
// byte `r` of the 16 number `p` holds, lowest first, k = 2p, 2p + 1, 8 + 2p, 9 + 2p. So a nibble is
// the codes of two k, and looks up what both add in a table of 16 (matmul.h).
// Codes are unsigned, value = scale * (code - zero). K is padded to a multiple of 32 with code 0
// (activations are 0 there), N to a multiple of 16 with scale 0. A group is a multiple of 32 k; the
// last one may be short.
// Example: N = 1, K = 4, one group, b = 8, codes 1 2 3 4, scale 1: 64 bytes of scales (f16,
// padded), then one line `1 2 3 4 0 ...` and 7 lines of zeros.
// Bits per weight: b + 16/g (+ 8/g with zero-points).
//
// Code book: 4-bit codes that stand for any 16 values (nf4, fp4): value = scale * values[code].
// Exact mode multiplies by these; integer products by whole multiples of a step in -127..127:
// exactly, where all values are such multiples of the smallest (fp4), else rounded to 1/127 of the
// largest (nf4).
//
// Two-level scales: groups of `sub` k keep an integer u in 0..255 and share the scale of a wider
// group: scale * u / 256. Sums over the wider group stay integer (matmul.h), so that narrow groups
// cost what wide ones do. It is a rounding, of each scale by at most 1/510 of the group's largest.
// Bits per weight: b + 8/sub + 16/group.
//
// Dense tile: [K][16] of f32, f16 or bf16, padded to 64 bytes.
//
// Threads: building is parallel over tiles when a pool is given; a built TiledWeights is read-only
// and safe from many threads.
// Errors: InputError naming the fact (code out of range, zero-point above 2^bits, group not a
// multiple of 32, scale that f16 cannot hold).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "halftone/kernel/kernels.h"

namespace halftone {
class ThreadPool;
}

namespace halftone::kernel {

// Of the layout above: whoever keeps tiles in a file keeps this beside them.
inline constexpr int64_t kTileLayout = 3;

enum class ScaleType : uint8_t { f16, f32 };

struct TileSpec {
  int64_t rows = 0, cols = 0;  // N, K
  int bits = 4;                // 1..8
  int64_t group = 0;           // multiple of 32, or 0: one scale per row
  ScaleType scales = ScaleType::f16;
  bool zeros = false;  // zero-points stored; else every one is `zero`
  int zero = 8;        // symmetric: 2^(bits-1)
  // Two-level scales: k that share the scale, a multiple of the group, up to 256; 0: one level.
  // What is read row by row stays one scale a group, none negative; see has_two_levels().
  int64_t super = 0;
  // Of 2 bits: in pairs, for integer products by tables, which are another numeric mode.
  bool pairs = false;
  std::vector<float>
      book;  // 16 values of a code book; then bits is 4, and zero-points mean nothing
  bool operator==(const TileSpec&) const = default;
};

// Can these weights have two-level scales? Codes less zero-point times activations must fit int16
// over 32 k: symmetric ones of up to 4 bits.
bool has_two_levels(const TileSpec& spec);

int64_t tiled_bytes(const TileSpec& spec);  // known before anything is read
int64_t dense_tiled_bytes(int64_t rows, int64_t cols, Store store);

// Fills one row: codes [K], scales [groups], zeros [groups] (empty when spec.zeros is false).
// Called once per row, in any order, from several threads; may throw.
using CodeRowReader = std::function<void(int64_t row, std::span<uint8_t> codes,
                                         std::span<float> scales, std::span<uint8_t> zeros)>;
// Codes of 2, 4 or 8 bits as files keep them, unsigned, lowest bits first, from which tiles are made
// without a byte for each in between. Bytes at any alignment.
//   by rows   row n begins at data + n * stride and holds ceil(K * bits / 8) bytes or more
//   down      [K * bits / 32][N] words of 32 bits, a word holds codes of one row; word rows are
//             `stride` bytes apart; K * bits is a multiple of 32
struct CodeWords {
  const std::byte* data = nullptr;
  int64_t stride = 0;
  bool down = false;
  bool signed_bytes = false;  // int8: a code is the byte + 128
};
// Scales beside them: f16, that of row n and group g at data + 2 * (n * row + g * group). Finite.
struct HalfScales {
  const std::byte* data = nullptr;
  int64_t row = 0, group = 0;
};

// Fills one row of f32 values (Store::f32) or of 16-bit patterns (f16, bf16) as raw bytes.
using DenseRowReader = std::function<void(int64_t row, std::span<std::byte> values)>;

// Memory for the tiles of one model: regions that fill up one after another, of huge pages where the
// system has them. Reading all weights for every token is a walk through more small pages than
// address translation remembers, and 30,000 first touches cost more than filling them. Safe from
// many threads.
class TileMemory {
 public:
  TileMemory();
  ~TileMemory();
  // At a multiple of 64, zeros; lives as long as what is returned.
  std::shared_ptr<std::byte> take(int64_t bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Who builds tiles, and where.
struct TileBuild {
  ThreadPool* pool;    // nullptr: this thread
  TileMemory* memory;  // nullptr: memory of their own
  TileBuild(ThreadPool* p = nullptr, TileMemory* m = nullptr) : pool(p), memory(m) {}
};

class TiledWeights {
 public:
  TiledWeights() = default;

  static TiledWeights from_codes(const TileSpec& spec, const CodeRowReader& row,
                                 TileBuild build = {});
  // The same tiles out of words; `zeros` u8 [N][groups], empty when spec.zeros is false. Never two
  // levels, nor f32 scales.
  static TiledWeights from_words(const TileSpec& spec, const CodeWords& words,
                                 const HalfScales& scales, std::span<const uint8_t> zeros,
                                 TileBuild build = {});
  // codes u8 [N][K], scales f32 [N][groups], zeros u8 [N][groups] or empty
  static TiledWeights from_codes(const TileSpec& spec, std::span<const uint8_t> codes,
                                 std::span<const float> scales, std::span<const uint8_t> zeros,
                                 TileBuild build = {});
  static TiledWeights from_dense(int64_t rows, int64_t cols, Store store, const DenseRowReader& row,
                                 TileBuild build = {});
  // Rows that lie one after another, at any alignment. `done` hears of rows [first, first + count)
  // that will not be read again, from the thread that read them.
  using RowsRead = std::function<void(int64_t first, int64_t count)>;
  static TiledWeights from_dense(int64_t rows, int64_t cols, Store store,
                                 std::span<const std::byte> values, TileBuild build = {},
                                 const RowsRead& done = {});
  // Tiles that exist already, bytes() of them, in memory that `owner` keeps: a file that
  // tile_data() went to. `like` names the layout; its pointer is not used. InputError when the
  // layout is not one that this version makes.
  static TiledWeights mapped(const Tiles& like, std::span<const std::byte> tiles,
                             std::shared_ptr<const void> owner);
  std::span<const std::byte> tile_data() const;
  static TiledWeights from_f32(int64_t rows, int64_t cols, std::span<const float> values,
                               TileBuild build = {});

  int64_t rows() const { return view_.rows; }
  int64_t cols() const { return view_.cols; }
  int64_t tiles() const { return (view_.rows + kTileRows - 1) / kTileRows; }
  int64_t bytes() const { return tiles() * view_.tile_bytes; }
  bool dense() const { return view_.store != Store::codes; }
  const Tiles& view() const { return view_; }

  // One element as a number, for embeddings, tests and inspection: scale * (code - zero), or the
  // dense value.
  float value(int64_t row, int64_t col) const;
  // A whole row, f32 [K].
  void row(int64_t row, std::span<float> out) const;
  int code(int64_t row, int64_t col) const;  // codes only

 private:
  uint8_t* allocate(TileMemory* memory);
  Tiles view_{};
  std::shared_ptr<const void> owner_;  // of the tiles
};

// Do integer products need more than a signed byte for code less zero-point?
inline bool wide_codes(const Tiles& w) { return w.bits > 4 || w.book != 0; }

// The largest number of k that one integer sum covers: a multiple of 32, at most 256 and at most
// `limit`, that divides the group (any, where the group is the whole row).
int64_t unit_for(const Tiles& w, int64_t limit = kMaxUnit);

}  // namespace halftone::kernel
