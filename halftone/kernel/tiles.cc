#include "halftone/kernel/tiles.h"

#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "halftone/base/error.h"
#include "halftone/base/half.h"
#include "halftone/base/threads.h"
#include "halftone/kernel/codes.h"

namespace halftone::kernel {
namespace {

int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

// Sizes that could overflow were never allocated by whoever holds the codes; the limits only keep
// the products in 64 bits.
constexpr int64_t kMaxExtent = int64_t{1} << 31;

void set_book(Tiles& t, const TileSpec& s) {
  if (s.book.size() != 16 || s.bits != 4 || s.zeros)
    throw InputError("tiles", "a code book has 16 values for codes of 4 bits and no zero-points");
  float least = 0, most = 0;
  for (const float v : s.book) {
    if (!std::isfinite(v)) throw NumericError("tiles", "a value of the code book is not finite");
    most = std::max(most, std::abs(v));
    if (v != 0 && (least == 0 || std::abs(v) < least)) least = std::abs(v);
  }
  const bool multiples =
      least > 0 && std::all_of(s.book.begin(), s.book.end(), [&](float v) {
        return v / least == std::nearbyint(v / least) && std::abs(v) <= 127 * least;
      });
  t.book = 1;
  t.step = multiples ? least : most > 0 ? most / 127 : 1;
  t.zero = multiples ? static_cast<int32_t>(most / least) : 128;
  for (size_t i = 0; i < 16; ++i) {
    t.value[i] = s.book[i];
    t.level[i] =
        static_cast<uint8_t>(std::nearbyint(s.book[i] / t.step) + static_cast<float>(t.zero));
  }
}

// At most 2^bits (GPTQ's first layout goes that far): what integer products rely on.
void check_zero(const TileSpec& s, int zero) {
  const int most = std::min(255, 1 << s.bits);
  if (zero < 0 || zero > most)
    throw InputError(
        "tiles", "zero-point " + std::to_string(zero) + " is not in 0.." + std::to_string(most));
}

Tiles layout(const TileSpec& s) {
  if (s.rows < 1 || s.cols < 1 || s.rows > kMaxExtent || s.cols > kMaxExtent)
    throw ShapeError("tiles", "weights [" + std::to_string(s.rows) + ", " + std::to_string(s.cols) +
                                  "] cannot be tiled");
  if (s.bits < 1 || s.bits > 8)
    throw InputError("tiles", std::to_string(s.bits) + " bits cannot be tiled", "use 1 to 8");
  if (s.group < 0 || (s.group % kTileCols != 0 && s.group < s.cols))
    throw InputError("tiles", "group " + std::to_string(s.group) + " is not a multiple of 32",
                     "use a multiple of 32, or one scale per row");
  if (!s.zeros && s.book.empty()) check_zero(s, s.zero);
  if (s.super != 0 &&
      (!has_two_levels(s) || s.group == 0 || s.super % s.group != 0 || s.super > kMaxUnit))
    throw InputError("tiles", "two-level scales of " + std::to_string(s.super) + " columns over " +
                                  std::to_string(s.group) + " at " + std::to_string(s.bits) +
                                  " bits");
  if (s.pairs && (s.bits != 2 || s.super != 0))
    throw InputError("tiles",
                     "pairs of codes of " + std::to_string(s.bits) + " bits" +
                         (s.super != 0 ? " with two-level scales" : ""),
                     "pairs are for 2 bits and one level");
  Tiles t{};
  t.rows = s.rows;
  t.cols = s.cols;
  t.padded_cols = up(s.cols, kTileCols);
  const int64_t group = s.super != 0 ? s.super : s.group;
  t.group = group == 0 || group >= s.cols ? t.padded_cols : group;
  t.groups = (t.padded_cols + t.group - 1) / t.group;
  t.store = Store::codes;
  t.bits = s.bits;
  t.pairs = s.pairs;
  t.zero = s.zero;
  t.scales_f32 = s.scales == ScaleType::f32;
  int64_t at = t.groups * kTileRows * (t.scales_f32 ? 4 : 2);
  if (!s.book.empty()) set_book(t, s);
  if (s.super != 0) t.step = 0x1p-8f;
  t.sub = s.super != 0 ? s.group : 0;
  t.sub_offset = s.super != 0 ? at : -1;
  if (s.super != 0) at += (t.padded_cols + t.sub - 1) / t.sub * kTileRows;
  t.zeros_offset = s.zeros ? at : -1;
  if (s.zeros) at += t.groups * kTileRows;
  t.codes_offset = up(at, 64);
  t.tile_bytes = up(t.codes_offset + t.padded_cols * kTileRows * t.bits / 8, 64);
  return t;
}

Tiles dense_layout(int64_t rows, int64_t cols, Store store) {
  if (rows < 1 || cols < 1 || rows > kMaxExtent || cols > kMaxExtent)
    throw ShapeError("tiles", "weights [" + std::to_string(rows) + ", " + std::to_string(cols) +
                                  "] cannot be tiled");
  check(store != Store::codes, "dense tiles of codes");
  Tiles t{};
  t.rows = rows;
  t.cols = t.padded_cols = cols;
  t.group = cols;
  t.groups = 1;
  t.sub_offset = t.zeros_offset = -1;
  t.store = store;
  t.tile_bytes = up(cols * kTileRows * (store == Store::f32 ? 4 : 2), 64);
  return t;
}

// Rows of a tile, a byte per code, [16][padded_cols] -> lines of codes; its inverse is code_at. A
// quad of a row is 4 bytes and fills a lane, so that all of it is shifts of 32-bit words.
void put_codes(const uint8_t* rows, int64_t padded_cols, int bits, uint8_t* lines) {
  for (int64_t k = 0; k < padded_cols; k += kTileCols) {
    for (int64_t r = 0; r < kTileRows; ++r) {
      uint32_t q[8];
      std::memcpy(q, rows + r * padded_cols + k, sizeof(q));
      const auto put = [&](int64_t line, uint32_t lane) {
        std::memcpy(lines + line * 64 + r * 4, &lane, 4);
      };
      // `width` bits from `shift` on of each quad, in lines from `first` on
      const auto plane = [&]<int width>(std::integral_constant<int, width>, int64_t first,
                                        int shift) {
        constexpr uint32_t mask = ((1u << width) - 1) * 0x01010101u;
        constexpr int per_line = 8 / width;
        for (int i = 0; i < 8; i += per_line) {
          uint32_t lane = 0;
          for (int j = 0; j < per_line; ++j) lane |= ((q[i + j] >> shift) & mask) << (width * j);
          put(first + i / per_line, lane);
        }
      };
      constexpr std::integral_constant<int, 1> one;
      constexpr std::integral_constant<int, 2> two;
      constexpr std::integral_constant<int, 4> four;
      switch (bits) {
        case 1:
          plane(one, 0, 0);
          break;
        case 2:
          plane(two, 0, 0);
          break;
        case 3: {  // six bits of the last two quads, two in each line
          const uint32_t t = q[6] | (q[7] << 3);
          for (int64_t i = 0; i < 3; ++i)
            put(i, q[2 * i] | (q[2 * i + 1] << 3) | (((t >> (2 * i)) & 0x03030303u) << 6));
          break;
        }
        case 8:
          for (int64_t i = 0; i < 8; ++i) put(i, q[i]);
          break;
        default:
          plane(four, 0, 0);
          if (bits == 5) plane(one, 4, 4);
          if (bits >= 6) plane(two, 4, 4);
          if (bits == 7) plane(one, 6, 6);
      }
    }
    lines += 64 * bits;
  }
}

// The same for codes in pairs.
void put_pairs(const uint8_t* rows, int64_t padded_cols, uint8_t* lines) {
  for (int64_t k = 0; k < padded_cols; k += 16, lines += 64)
    for (int64_t r = 0; r < kTileRows; ++r) {
      const uint8_t* q = rows + r * padded_cols + k;
      for (int64_t pair = 0; pair < 4; ++pair, q += 2)
        lines[pair * kTileRows + r] =
            static_cast<uint8_t>(q[0] | (q[1] << 2) | (q[8] << 4) | (q[9] << 6));
    }
}

// Four or eight lanes of 128 bits, which every machine that we build for has.
using Lanes32 = uint32_t __attribute__((vector_size(16)));
using Lanes16 = uint16_t __attribute__((vector_size(16)));

template <class Lanes>
Lanes load_lanes(const std::byte* from) {
  Lanes v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}
template <class Lanes>
void store_lanes(uint8_t* to, Lanes v) {
  std::memcpy(to, &v, sizeof(v));
}

void transpose(Lanes32 (&v)[4]) {
  const Lanes32 a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5),
                b = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5),
                c = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7),
                d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
  v[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
  v[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
  v[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
  v[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
}

void transpose(Lanes16 (&v)[8]) {
  // Three rounds of interleaving rows that are half of all apart.
  for (int round = 0; round < 3; ++round) {
    Lanes16 u[8];
    for (int i = 0; i < 4; ++i) {
      u[2 * i] = __builtin_shufflevector(v[i], v[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      u[2 * i + 1] = __builtin_shufflevector(v[i], v[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    for (int i = 0; i < 8; ++i) v[i] = u[i];
  }
}

// Words of a file hold codes in the order of k; a lane of a line holds byte by byte the same place
// of several quads. Fields change places in pairs, at a distance that one shift covers.
template <int bits, class Word>
Word to_lane(Word w) {
  const auto swap = [&w](int distance, uint32_t mask) {
    const Word t = (w ^ (w >> distance)) & mask;
    w ^= t ^ (t << distance);
  };
  if constexpr (bits == 4) {
    swap(8, 0x0000FF00u);
    swap(4, 0x00F000F0u);
  } else if constexpr (bits == 2) {
    swap(12, 0x0000F0F0u);
    swap(6, 0x00CC00CCu);
  }
  return w;
}

// Codes of rows [first, first + held) -> the lines of their tile.
template <int bits>
void put_words_of(const Tiles& t, const CodeWords& in, int64_t first, int64_t held,
                  uint8_t* lines) {
  constexpr int64_t kStep = 32 / bits;  // k of a word, and of a line
  const uint32_t flip = in.signed_bytes ? 0x80808080u : 0;
  const int64_t whole = t.cols / kStep, count = t.padded_cols / kStep;
  int64_t i = 0;
  if (in.down && held == kTileRows) {
    for (; i < whole; ++i) {
      const std::byte* from = in.data + i * in.stride + first * 4;
      for (int64_t r = 0; r < kTileRows; r += 4)
        store_lanes(lines + i * 64 + r * 4,
                    to_lane<bits>(load_lanes<Lanes32>(from + r * 4) ^ flip));
    }
  } else if (!in.down && held == kTileRows) {
    const std::byte* from = in.data + first * in.stride;
    for (; i + 4 <= whole; i += 4) {
      for (int64_t r = 0; r < kTileRows; r += 4) {
        Lanes32 v[4];
        for (int j = 0; j < 4; ++j)
          v[j] = to_lane<bits>(load_lanes<Lanes32>(from + (r + j) * in.stride + i * 4) ^ flip);
        transpose(v);
        for (int j = 0; j < 4; ++j) store_lanes(lines + (i + j) * 64 + r * 4, v[j]);
      }
    }
  }
  for (; i < count; ++i) {
    const int64_t left = std::clamp<int64_t>(t.cols - i * kStep, 0, kStep);
    for (int64_t r = 0; r < kTileRows; ++r) {
      uint32_t w = 0;
      if (r < held && left > 0) {
        const std::byte* from = in.down ? in.data + i * in.stride + (first + r) * 4
                                        : in.data + (first + r) * in.stride + i * 4;
        std::memcpy(&w, from, static_cast<size_t>((left * bits + 7) / 8));
        w ^= flip;
        if (left < kStep) w &= (1u << (left * bits)) - 1;
        w = to_lane<bits>(w);
      }
      std::memcpy(lines + i * 64 + r * 4, &w, 4);
    }
  }
}

void put_words(const Tiles& t, const CodeWords& in, int64_t first, int64_t held, uint8_t* lines) {
  if (t.bits == 2) put_words_of<2>(t, in, first, held, lines);
  if (t.bits == 4) put_words_of<4>(t, in, first, held, lines);
  if (t.bits == 8) put_words_of<8>(t, in, first, held, lines);
}

// Rows [held][cols], one after another -> a dense tile.
template <class Lanes, size_t kCount>
void put_dense_of(const Tiles& t, const std::byte* rows, int64_t held, uint8_t* base) {
  constexpr auto count = static_cast<int64_t>(kCount);
  constexpr int64_t size = 16 / count;
  int64_t k = 0;
  if (held == kTileRows) {
    for (; k + count <= t.cols; k += count) {
      for (int64_t r = 0; r < kTileRows; r += count) {
        Lanes v[kCount];
        for (int64_t j = 0; j < count; ++j)
          v[j] = load_lanes<Lanes>(rows + ((r + j) * t.cols + k) * size);
        transpose(v);
        for (int64_t j = 0; j < count; ++j)
          store_lanes(base + ((k + j) * kTileRows + r) * size, v[j]);
      }
    }
  }
  std::memset(base + k * kTileRows * size, 0,
              static_cast<size_t>(t.tile_bytes - k * kTileRows * size));
  for (; k < t.cols; ++k)
    for (int64_t r = 0; r < held; ++r)
      std::memcpy(base + (k * kTileRows + r) * size, rows + (r * t.cols + k) * size,
                  static_cast<size_t>(size));
}

void put_dense(const Tiles& t, const std::byte* rows, int64_t held, uint8_t* base) {
  if (t.store == Store::f32)
    put_dense_of<Lanes32, 4>(t, rows, held, base);
  else
    put_dense_of<Lanes16, 8>(t, rows, held, base);
}

// The scale of row n, group g, into the tile that begins at `base`.
void put_scale(const Tiles& t, uint8_t* base, int64_t g, int64_t n, float s) {
  const auto where = [&] {
    return "the scale of row " + std::to_string(n) + ", group " + std::to_string(g);
  };
  if (!std::isfinite(s)) throw NumericError("tiles", where() + " is not finite");
  const int64_t at = g * kTileRows + n % kTileRows;
  if (t.scales_f32) {
    std::memcpy(base + at * 4, &s, 4);
    return;
  }
  const uint16_t half = f32_to_f16(s);
  if (f16_to_f32(half) != s)
    throw NumericError("tiles", where() + " does not fit f16", "keep f32 scales");
  std::memcpy(base + at * 2, &half, 2);
}

// The scales of row n in two levels: the upper one holds the largest of its group as u = 255.
void put_two_levels(const Tiles& t, uint8_t* base, int64_t n, std::span<const float> scales) {
  const int64_t r = n % kTileRows, subs = (t.group + t.sub - 1) / t.sub, count = std::ssize(scales);
  for (int64_t g = 0; g < t.groups; ++g) {
    const auto some = scales.subspan(static_cast<size_t>(g * subs),
                                     static_cast<size_t>(std::min(subs, count - g * subs)));
    float most = 0;
    for (const float s : some) {
      if (!(s >= 0) || !std::isfinite(s))
        throw NumericError("tiles",
                           "a scale of row " + std::to_string(n) + " is negative or not finite");
      most = std::max(most, s);
    }
    float top = most * (256.0f / 255.0f);
    if (t.scales_f32 == 0) top = f16_to_f32(f32_to_f16(top));
    put_scale(t, base, g, n, top);
    for (int64_t i = 0; i < std::ssize(some); ++i) {
      const float u = top > 0 ? std::nearbyint(some[static_cast<size_t>(i)] * 256.0f / top) : 0.0f;
      base[t.sub_offset + (g * subs + i) * kTileRows + r] =
          static_cast<uint8_t>(std::min(u, 255.0f));
    }
  }
}

void for_tiles(ThreadPool* pool, int64_t tiles,
               const std::function<void(int64_t, int64_t)>& range) {
  if (pool != nullptr)
    pool->split(tiles, range);
  else
    range(0, tiles);
}

}  // namespace

bool has_two_levels(const TileSpec& spec) {
  const int most = std::max(spec.zero, (1 << spec.bits) - 1 - spec.zero);
  return spec.bits <= 4 && spec.book.empty() && !spec.zeros && spec.zero >= 0 &&
         most * 127 * kTileCols <= 32767;
}

int64_t tiled_bytes(const TileSpec& spec) {
  const Tiles t = layout(spec);
  return up(t.rows, kTileRows) / kTileRows * t.tile_bytes;
}

int64_t dense_tiled_bytes(int64_t rows, int64_t cols, Store store) {
  const Tiles t = dense_layout(rows, cols, store);
  return up(t.rows, kTileRows) / kTileRows * t.tile_bytes;
}

struct TileMemory::State {
  std::mutex mutex;
  std::shared_ptr<std::byte> region;
  int64_t size = 0, used = 0;
};

TileMemory::TileMemory() : state_(std::make_unique<State>()) {}
TileMemory::~TileMemory() = default;

std::shared_ptr<std::byte> TileMemory::take(int64_t bytes) {
  // What is never touched of a region costs address space only.
  constexpr int64_t kRegion = int64_t{64} << 20, kHuge = int64_t{2} << 20;
  std::lock_guard lock(state_->mutex);
  State& s = *state_;
  const int64_t wanted = up(bytes, 64);
  if (s.region == nullptr || s.size - s.used < wanted) {
    const int64_t size = up(std::max(wanted, kRegion), kHuge);
    // A mapping begins at any page: one huge page more than is used, to begin at a whole one.
    const auto length = static_cast<size_t>(size + kHuge);
    void* p = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    const std::shared_ptr<void> mapping(p, [length](void* q) { ::munmap(q, length); });
    const auto at = up(static_cast<int64_t>(reinterpret_cast<intptr_t>(p)), kHuge);
    auto* begin = reinterpret_cast<std::byte*>(static_cast<intptr_t>(at));
    ::madvise(begin, static_cast<size_t>(size), MADV_HUGEPAGE);  // advice: small pages do, too
    s.region = std::shared_ptr<std::byte>(mapping, begin);
    s.size = size;
    s.used = 0;
  }
  std::shared_ptr<std::byte> out(s.region, s.region.get() + s.used);
  s.used += wanted;
  return out;
}

uint8_t* TiledWeights::allocate(TileMemory* memory) {
  // Pages come zeroed from the system and are first touched by the thread that fills the tile.
  std::shared_ptr<std::byte> p;
  if (memory != nullptr) {
    p = memory->take(bytes());
  } else {
    auto* own = static_cast<std::byte*>(std::aligned_alloc(64, static_cast<size_t>(bytes())));
    if (own == nullptr) throw std::bad_alloc();
    p.reset(own, [](std::byte* b) { std::free(b); });
  }
  auto* data = reinterpret_cast<uint8_t*>(p.get());
  view_.data = data;
  owner_ = std::move(p);
  return data;
}

TiledWeights TiledWeights::from_words(const TileSpec& spec, const CodeWords& words,
                                      const HalfScales& scales, std::span<const uint8_t> zeros,
                                      TileBuild build) {
  check(spec.bits == 2 || spec.bits == 4 || spec.bits == 8, "tiles of words of other bits");
  check(spec.super == 0 && !spec.pairs && spec.scales == ScaleType::f16,
        "tiles of words of another form");
  TiledWeights w;
  w.view_ = layout(spec);
  uint8_t* const data = w.allocate(build.memory);
  const Tiles& t = w.view_;
  check(std::ssize(zeros) == (spec.zeros ? t.rows * t.groups : 0), "zero-points of other groups");
  for (const uint8_t z : zeros) check_zero(spec, z);
  for_tiles(build.pool, w.tiles(), [&](int64_t begin, int64_t end) {
    for (int64_t tile = begin; tile < end; ++tile) {
      uint8_t* base = data + tile * t.tile_bytes;
      const int64_t first = tile * kTileRows, held = std::min(kTileRows, t.rows - first);
      std::memset(base, 0, static_cast<size_t>(t.codes_offset));
      const std::byte* s = scales.data + 2 * first * scales.row;
      for (int64_t g = 0; g < t.groups; ++g)
        for (int64_t r = 0; r < held; ++r)
          std::memcpy(base + 2 * (g * kTileRows + r), s + 2 * (r * scales.row + g * scales.group),
                      2);
      for (int64_t r = 0; r < held && spec.zeros; ++r)
        for (int64_t g = 0; g < t.groups; ++g)
          base[t.zeros_offset + g * kTileRows + r] =
              zeros[static_cast<size_t>((first + r) * t.groups + g)];
      put_words(t, words, first, held, base + t.codes_offset);
      const int64_t used = t.codes_offset + t.padded_cols * kTileRows * t.bits / 8;
      std::memset(base + used, 0, static_cast<size_t>(t.tile_bytes - used));
    }
  });
  return w;
}

TiledWeights TiledWeights::from_codes(const TileSpec& spec, const CodeRowReader& row,
                                      TileBuild build) {
  TiledWeights w;
  w.view_ = layout(spec);
  uint8_t* const data = w.allocate(build.memory);
  const Tiles& t = w.view_;
  const auto top = static_cast<uint8_t>((1u << spec.bits) - 1);
  for_tiles(build.pool, w.tiles(), [&](int64_t begin, int64_t end) {
    std::vector<uint8_t> rows(static_cast<size_t>(kTileRows * t.padded_cols)),
        zeros(static_cast<size_t>(spec.zeros ? t.groups : 0));
    std::vector<float> scales(
        static_cast<size_t>(t.sub_offset < 0 ? t.groups : (t.padded_cols + t.sub - 1) / t.sub));
    for (int64_t tile = begin; tile < end; ++tile) {
      uint8_t* base = data + tile * t.tile_bytes;
      const int64_t held = std::min(kTileRows, t.rows - tile * kTileRows);
      std::memset(base, 0, static_cast<size_t>(t.codes_offset));
      if (held < kTileRows) std::fill(rows.begin(), rows.end(), uint8_t{0});
      for (int64_t r = 0; r < held; ++r) {
        const int64_t n = tile * kTileRows + r;
        const auto codes = std::span(rows).subspan(static_cast<size_t>(r * t.padded_cols),
                                                   static_cast<size_t>(t.cols));
        row(n, codes, scales, zeros);
        if (spec.bits < 8) {
          const uint8_t most = *std::max_element(codes.begin(), codes.end());
          if (most > top)
            throw InputError("tiles", "code " + std::to_string(most) + " of row " +
                                          std::to_string(n) + " does not fit " +
                                          std::to_string(spec.bits) + " bits");
        }
        if (t.sub_offset >= 0) put_two_levels(t, base, n, scales);
        for (int64_t g = 0; g < t.groups && t.sub_offset < 0; ++g)
          put_scale(t, base, g, n, scales[static_cast<size_t>(g)]);
        for (const uint8_t z : zeros) check_zero(spec, z);
        for (int64_t g = 0; g < std::ssize(zeros); ++g)
          base[t.zeros_offset + g * kTileRows + r] = zeros[static_cast<size_t>(g)];
      }
      if (t.pairs != 0)
        put_pairs(rows.data(), t.padded_cols, base + t.codes_offset);
      else if (t.bits == 8)  // a byte is a code already
        put_words(t, {.data = std::as_bytes(std::span(rows)).data(), .stride = t.padded_cols}, 0,
                  kTileRows, base + t.codes_offset);
      else
        put_codes(rows.data(), t.padded_cols, t.bits, base + t.codes_offset);
      const int64_t used = t.codes_offset + t.padded_cols * kTileRows * t.bits / 8;
      std::memset(base + used, 0, static_cast<size_t>(t.tile_bytes - used));
    }
  });
  return w;
}

TiledWeights TiledWeights::from_codes(const TileSpec& spec, std::span<const uint8_t> codes,
                                      std::span<const float> scales, std::span<const uint8_t> zeros,
                                      TileBuild build) {
  const Tiles t = layout(spec);
  const auto size = [](auto s) { return static_cast<int64_t>(s.size()); };
  const int64_t groups = t.sub_offset < 0 ? t.groups : (t.padded_cols + t.sub - 1) / t.sub;
  if (size(codes) != t.rows * t.cols || size(scales) != t.rows * groups ||
      size(zeros) != (spec.zeros ? t.rows * groups : 0))
    throw ShapeError("tiles", "codes, scales or zero-points do not match [" +
                                  std::to_string(t.rows) + ", " + std::to_string(t.cols) +
                                  "] with " + std::to_string(groups) + " groups");
  return from_codes(
      spec,
      [&](int64_t n, std::span<uint8_t> c, std::span<float> s, std::span<uint8_t> z) {
        std::copy_n(codes.data() + n * t.cols, t.cols, c.data());
        std::copy_n(scales.data() + n * groups, groups, s.data());
        if (!z.empty()) std::copy_n(zeros.data() + n * groups, groups, z.data());
      },
      build);
}

TiledWeights TiledWeights::from_dense(int64_t rows, int64_t cols, Store store,
                                      const DenseRowReader& row, TileBuild build) {
  TiledWeights w;
  w.view_ = dense_layout(rows, cols, store);
  uint8_t* const data = w.allocate(build.memory);
  const Tiles& t = w.view_;
  const int64_t size = store == Store::f32 ? 4 : 2;
  for_tiles(build.pool, w.tiles(), [&](int64_t begin, int64_t end) {
    std::vector<std::byte> values(static_cast<size_t>(kTileRows * cols * size));
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t held = std::min(kTileRows, rows - tile * kTileRows);
      for (int64_t r = 0; r < held; ++r)
        row(tile * kTileRows + r, std::span(values).subspan(static_cast<size_t>(r * cols * size),
                                                            static_cast<size_t>(cols * size)));
      put_dense(t, values.data(), held, data + tile * t.tile_bytes);
    }
  });
  return w;
}

TiledWeights TiledWeights::from_dense(int64_t rows, int64_t cols, Store store,
                                      std::span<const std::byte> values, TileBuild build,
                                      const RowsRead& done) {
  TiledWeights w;
  w.view_ = dense_layout(rows, cols, store);
  const Tiles& t = w.view_;
  const int64_t size = store == Store::f32 ? 4 : 2;
  if (std::ssize(values) % size != 0 || std::ssize(values) / size != rows * cols)
    throw ShapeError("tiles", "values do not match the shape");
  uint8_t* const data = w.allocate(build.memory);
  for_tiles(build.pool, w.tiles(), [&](int64_t begin, int64_t end) {
    constexpr int64_t kPiece = 64;  // tiles
    for (int64_t first = begin; first < end; first += kPiece) {
      const int64_t last = std::min(end, first + kPiece);
      for (int64_t tile = first; tile < last; ++tile)
        put_dense(t, values.data() + tile * kTileRows * cols * size,
                  std::min(kTileRows, rows - tile * kTileRows), data + tile * t.tile_bytes);
      if (done) done(first * kTileRows, std::min(rows, last * kTileRows) - first * kTileRows);
    }
  });
  return w;
}

TiledWeights TiledWeights::from_f32(int64_t rows, int64_t cols, std::span<const float> values,
                                    TileBuild build) {
  return from_dense(rows, cols, Store::f32, std::as_bytes(values), build);
}

TiledWeights TiledWeights::mapped(const Tiles& like, std::span<const std::byte> tiles,
                                  std::shared_ptr<const void> owner) {
  TiledWeights w;
  w.view_ = like.store != Store::codes
                ? dense_layout(like.rows, like.cols, like.store)
                : layout({.rows = like.rows,
                          .cols = like.cols,
                          .bits = like.bits,
                          .group = like.sub_offset >= 0 ? like.sub
                                   : like.groups == 1   ? 0
                                                        : like.group,
                          .scales = like.scales_f32 != 0 ? ScaleType::f32 : ScaleType::f16,
                          .zeros = like.zeros_offset >= 0,
                          .zero = like.zero,
                          .super = like.sub_offset >= 0 ? up(like.group, like.sub) : 0,
                          .pairs = like.pairs != 0,
                          .book = like.book != 0 ? std::vector<float>(like.value, like.value + 16)
                                                 : std::vector<float>()});
  const auto* data = reinterpret_cast<const uint8_t*>(tiles.data());
  if (std::ssize(tiles) != w.bytes() || reinterpret_cast<uintptr_t>(data) % 64 != 0)
    throw InputError("tiles", std::to_string(tiles.size()) + " bytes are not the tiles of [" +
                                  std::to_string(like.rows) + ", " + std::to_string(like.cols) +
                                  "]");
  w.view_.data = data;
  w.owner_ = std::move(owner);
  return w;
}

std::span<const std::byte> TiledWeights::tile_data() const {
  return {reinterpret_cast<const std::byte*>(view_.data), static_cast<size_t>(bytes())};
}

int TiledWeights::code(int64_t row, int64_t col) const {
  const uint8_t* base = view_.data + row / kTileRows * view_.tile_bytes;
  return code_at(view_, base, row % kTileRows, col);
}

float TiledWeights::value(int64_t row, int64_t col) const {
  const uint8_t* base = view_.data + row / kTileRows * view_.tile_bytes;
  const int64_t r = row % kTileRows;
  const auto half_at = [](const uint8_t* p) {
    uint16_t h = 0;
    std::memcpy(&h, p, 2);
    return h;
  };
  const auto float_at = [](const uint8_t* p) {
    float f = 0;
    std::memcpy(&f, p, 4);
    return f;
  };
  const int64_t at = col * kTileRows + r;
  switch (view_.store) {
    case Store::f32:
      return float_at(base + at * 4);
    case Store::f16:
      return f16_to_f32(half_at(base + at * 2));
    case Store::bf16:
      return bf16_to_f32(half_at(base + at * 2));
    case Store::codes:
      break;
  }
  const int64_t g = col / view_.group, lane = g * kTileRows + r;
  float s = view_.scales_f32 ? float_at(base + lane * 4) : f16_to_f32(half_at(base + lane * 2));
  if (view_.sub_offset >= 0) {
    const int64_t sub = col / view_.sub;
    s *= static_cast<float>(base[view_.sub_offset + sub * kTileRows + r]) * view_.step;
  }
  if (view_.book != 0) return s * view_.value[code(row, col)];
  const int z = view_.zeros_offset >= 0 ? base[view_.zeros_offset + lane] : view_.zero;
  return s * static_cast<float>(code(row, col) - z);
}

void TiledWeights::row(int64_t row, std::span<float> out) const {
  for (int64_t k = 0; k < view_.cols; ++k) out[static_cast<size_t>(k)] = value(row, k);
}

int64_t unit_for(const Tiles& w, int64_t limit) {
  if (w.sub_offset >= 0) return kTileCols;
  const int64_t most = std::max(kTileCols, std::min(limit, kMaxUnit) / kTileCols * kTileCols);
  if (w.groups == 1) return std::min(most, w.padded_cols);
  int64_t unit = std::min(most, w.group);
  while (w.group % unit != 0) unit -= kTileCols;
  return unit;
}

}  // namespace halftone::kernel
