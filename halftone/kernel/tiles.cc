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
    std::vector<std::byte> values(static_cast<size_t>(cols * size));
    for (int64_t tile = begin; tile < end; ++tile) {
      uint8_t* base = data + tile * t.tile_bytes;
      std::memset(base, 0, static_cast<size_t>(t.tile_bytes));
      for (int64_t r = 0; r < std::min(kTileRows, rows - tile * kTileRows); ++r) {
        row(tile * kTileRows + r, values);
        for (int64_t k = 0; k < cols; ++k)
          std::memcpy(base + (k * kTileRows + r) * size, values.data() + k * size,
                      static_cast<size_t>(size));
      }
    }
  });
  return w;
}

TiledWeights TiledWeights::from_f32(int64_t rows, int64_t cols, std::span<const float> values,
                                    TileBuild build) {
  if (static_cast<int64_t>(values.size()) != rows * cols)
    throw ShapeError("tiles", "values do not match the shape");
  return from_dense(
      rows, cols, Store::f32,
      [&](int64_t n, std::span<std::byte> out) {
        std::memcpy(out.data(), values.data() + n * cols, out.size());
      },
      build);
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
