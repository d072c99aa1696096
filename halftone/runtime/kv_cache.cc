#include "halftone/runtime/kv_cache.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "halftone/base/error.h"

namespace halftone::runtime {
namespace {
constexpr int64_t kLanes = kernel::kTileRows;
int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }
}  // namespace

KvCache::KvCache(std::vector<KvShape> layers, KvFormat format, int64_t step)
    : layers_(std::move(layers)),
      format_(format),
      step_(step),
      element_(format.open == KvType::f32 ? 4 : 2) {
  check(kv_bits(format.open) == 0 && (kv_bits(format.closed) != 0 || !closes()),
        "blocks of a cache are open in floats, and closed in codes if they are");
  for (const KvShape& l : layers_) {
    Place p{};
    p.key_tile = padded(l.dim) * kLanes * element_;
    p.value_tile = kKvBlock * kLanes * element_;
    p.keys = open_bytes_;
    p.keys_stride = up(kKvBlock / kLanes * p.key_tile, 64);
    open_bytes_ += l.heads * p.keys_stride;
    p.values = open_bytes_;
    p.values_stride = up(l.dim, kLanes) / kLanes * p.value_tile;
    open_bytes_ += l.heads * p.values_stride;
    if (closes()) {
      closed_.emplace_back(l.dim, kv_bits(format.closed));
      p.closed = closed_bytes_;
      closed_bytes_ += l.heads * closed_.back().bytes();
    }
    places_.push_back(p);
  }
}

int64_t KvCache::padded(int64_t cols) const noexcept {
  return format_.open == KvType::bf16 ? up(cols, kernel::kBf16Step) : cols;
}

std::byte* KvCache::open_bytes(int64_t block) const noexcept {
  return blocks_[static_cast<size_t>(block)].open->bytes().data();
}

std::byte* KvCache::closed_bytes(int64_t layer, int64_t head, int64_t block) const noexcept {
  const auto l = static_cast<size_t>(layer);
  return blocks_[static_cast<size_t>(block)].closed->bytes().data() + places_[l].closed +
         head * closed_[l].bytes();
}

void KvCache::reserve(int64_t from, int64_t count) {
  const auto make = [](int64_t bytes) {
    return std::make_shared<HostTensor>(DType::u8, Shape{bytes});
  };
  const auto first = static_cast<size_t>(from / kKvBlock),
             needed = static_cast<size_t>(up(count, kKvBlock) / kKvBlock);
  if (!closes()) {
    for (size_t b = first; b < blocks_.size(); ++b)
      if (blocks_[b].open.use_count() > 1)
        blocks_[b].open = std::make_shared<HostTensor>(blocks_[b].open->clone());
    while (blocks_.size() < needed) blocks_.push_back({make(open_bytes_), nullptr});
    return;
  }
  check(from % kKvBlock == 0 || blocks_[first].open != nullptr,
        "a step goes on where the cache can");
  const auto whole = static_cast<size_t>(count / kKvBlock);
  for (size_t b = 0; b < blocks_.size(); ++b) {
    Block& block = blocks_[b];
    if (block.open != nullptr && (b < first || b >= needed))
      spare_.push_back(std::move(block.open));
    // Closed again in this step, or not yet.
    if (b >= first && (b >= whole || block.closed.use_count() > 1)) block.closed.reset();
  }
  blocks_.resize(needed);
  for (size_t b = first; b < needed; ++b) {
    Block& block = blocks_[b];
    if (block.open == nullptr) {
      if (spare_.empty()) spare_.push_back(make(open_bytes_));
      block.open = std::move(spare_.back());
      spare_.pop_back();
    }
    if (b < whole && block.closed == nullptr) block.closed = make(closed_bytes_);
  }
  spare_.clear();
}

int64_t KvCache::truncate(int64_t tokens) const noexcept {
  const auto last = static_cast<size_t>(tokens / kKvBlock);
  const bool held = tokens % kKvBlock == 0 || blocks_[last].open != nullptr;
  return held ? tokens : tokens / kKvBlock * kKvBlock;
}

int64_t KvCache::share(const KvCache& other, int64_t tokens) {
  check(&other != this && layers_ == other.layers_ && format_ == other.format_ &&
            tokens <= std::ssize(other.blocks_) * kKvBlock,
        "a cache shares what another of its kind holds");
  tokens = other.truncate(tokens);
  const auto whole = static_cast<size_t>(tokens / kKvBlock);
  blocks_.clear();
  for (size_t b = 0; b < whole; ++b) {
    const Block& block = other.blocks_[b];
    blocks_.push_back(closes() ? Block{nullptr, block.closed} : block);
  }
  if (tokens % kKvBlock != 0)
    blocks_.push_back({std::make_shared<HostTensor>(other.blocks_[whole].open->clone()), nullptr});
  return tokens;
}

void KvCache::release() { blocks_.clear(); }

uint64_t KvCache::bytes_for(int64_t count) const {
  const int64_t blocks = up(count, kKvBlock) / kKvBlock;
  if (!closes()) return static_cast<uint64_t>(open_bytes_ * blocks);
  // A step that begins with the last token of a block touches the most blocks.
  const int64_t touched = (step_ + kKvBlock - 2) / kKvBlock + 1;
  return static_cast<uint64_t>(closed_bytes_ * (count / kKvBlock) +
                               open_bytes_ * std::min(blocks, touched));
}

uint64_t KvCache::bytes() const {
  int64_t bytes = 0;
  for (const Block& b : blocks_)
    bytes += (b.open != nullptr ? open_bytes_ : 0) + (b.closed != nullptr ? closed_bytes_ : 0);
  return static_cast<uint64_t>(bytes);
}

void KvCache::write(int64_t layer, int64_t head, int64_t token, const float* k, const float* v,
                    const kernel::Kernels& kernels) noexcept {
  const KvShape& shape = layers_[static_cast<size_t>(layer)];
  const Place& p = places_[static_cast<size_t>(layer)];
  std::byte* base = open_bytes(token / kKvBlock);
  const int64_t t = token % kKvBlock;
  if (format_.open == KvType::bf16) return write_pairs(shape, p, base, head, t, k, v, kernels);
  std::byte* keys =
      base + p.keys + head * p.keys_stride + t / kLanes * p.key_tile + t % kLanes * element_;
  std::byte* values = base + p.values + head * p.values_stride + t * kLanes * element_;
  if (format_.open == KvType::f32) {
    for (int64_t d = 0; d < shape.dim; ++d) std::memcpy(keys + d * kLanes * 4, k + d, 4);
    for (int64_t d = 0; d < shape.dim; d += kLanes)
      std::memcpy(values + d * kKvBlock * 4, v + d,
                  static_cast<size_t>(std::min(kLanes, shape.dim - d) * 4));
    return;
  }
  std::array<uint16_t, 64> kh, vh;
  static_assert(kh.size() % kLanes == 0);
  for (int64_t d = 0; d < shape.dim; d += static_cast<int64_t>(kh.size())) {
    const int64_t n = std::min<int64_t>(kh.size(), shape.dim - d);
    kernels.vector->to_f16(k + d, n, kh.data());
    kernels.vector->to_f16(v + d, n, vh.data());
    for (int64_t i = 0; i < n; ++i)
      std::memcpy(keys + (d + i) * kLanes * 2, &kh[static_cast<size_t>(i)], 2);
    for (int64_t i = 0; i < n; i += kLanes)
      std::memcpy(values + (d + i) * kKvBlock * 2, &vh[static_cast<size_t>(i)],
                  static_cast<size_t>(std::min(kLanes, n - i) * 2));
  }
}

void KvCache::write_pairs(const KvShape& shape, const Place& p, std::byte* block, int64_t head,
                          int64_t t, const float* k, const float* v,
                          const kernel::Kernels& kernels) noexcept {
  constexpr int64_t kStep = kernel::kBf16Step, kLine = 64;  // a line: 16 pairs
  std::byte* keys =
      block + p.keys + head * p.keys_stride + t / kLanes * p.key_tile + t % kLanes * 4;
  std::byte* values = block + p.values + head * p.values_stride + t / 2 * kLine + t % 2 * 2;
  for (int64_t d = 0; d < shape.dim; d += kStep) {
    std::array<uint16_t, kStep> kh{}, vh{};  // zeros beyond the last
    const int64_t n = std::min(kStep, shape.dim - d);
    kernels.vector->to_bf16(k + d, 1.0f, n, kh.data());
    kernels.vector->to_bf16(v + d, 1.0f, n, vh.data());
    for (int64_t i = 0; i < kStep; i += 2)
      std::memcpy(keys + (d + i) / 2 * kLine, &kh[static_cast<size_t>(i)], 4);
    for (int64_t i = 0; i < n; ++i)
      std::memcpy(values + (d + i) / kLanes * p.value_tile + i % kLanes * 4,
                  &vh[static_cast<size_t>(i)], 2);
  }
}

void KvCache::clear_behind(int64_t layer, int64_t head, int64_t end) noexcept {
  if (format_.open != KvType::bf16 || end % kernel::kBf16Step == 0) return;
  const Place& p = places_[static_cast<size_t>(layer)];
  std::byte* values = open_bytes(end / kKvBlock) + p.values + head * p.values_stride;
  const int64_t t = end % kKvBlock, last = up(t, kernel::kBf16Step);
  for (int64_t d = 0; d < layers_[static_cast<size_t>(layer)].dim; d += kLanes) {
    std::byte* tile = values + d / kLanes * p.value_tile;
    if (t % 2 == 1)
      for (int64_t i = 0; i < kLanes; ++i) std::memset(tile + t / 2 * 64 + i * 4 + 2, 0, 2);
    std::memset(tile + up(t, 2) / 2 * 64, 0, static_cast<size_t>((last - up(t, 2)) / 2 * 64));
  }
}

void KvCache::close(int64_t layer, int64_t head, int64_t block,
                    const kernel::Kernels& kernels) noexcept {
  const auto l = static_cast<size_t>(layer);
  const Place& p = places_[l];
  const ClosedBlock& form = closed_[l];
  const DType stored = format_.open == KvType::f32 ? DType::f32 : DType::f16;
  std::byte* to = closed_bytes(layer, head, block);
  form.begin(to);
  const std::byte* keys = open_bytes(block) + p.keys + head * p.keys_stride;
  std::array<float, kKvBlock> row;
  const auto piece = [&](int64_t i) {
    return std::span(row).subspan(static_cast<size_t>(i), static_cast<size_t>(kLanes));
  };
  for (int64_t d = 0; d < layers_[l].dim; ++d) {
    for (int64_t t = 0; t < kKvBlock; t += kLanes)
      to_f32(stored, keys + t / kLanes * p.key_tile + d * kLanes * element_, piece(t));
    form.put_keys(to, d, row.data(), kernels);
  }
  const std::byte* values = open_bytes(block) + p.values + head * p.values_stride;
  for (int64_t t = 0; t < kKvBlock; ++t) {
    // As many dims at a time as have a scale of their own.
    for (int64_t g = 0; g < form.value_groups(); ++g) {
      for (int64_t i = 0; i < form.value_group(); i += kLanes) {
        const int64_t d = g * form.value_group() + i;
        if (d >= layers_[l].dim) break;
        to_f32(stored, values + d / kLanes * p.value_tile + t * kLanes * element_, piece(i));
      }
      form.put_values(to, t, g, row.data(), kernels);
    }
  }
}

kernel::Tiles KvCache::tiles_at(int64_t block, int64_t offset, int64_t rows, int64_t cols,
                                int64_t tile_bytes) const noexcept {
  return {.data = reinterpret_cast<const uint8_t*>(open_bytes(block) + offset),
          .tile_bytes = tile_bytes,
          .rows = rows,
          .cols = cols,
          .padded_cols = padded(cols),
          .group = padded(cols),
          .groups = 1,
          .zeros_offset = -1,
          .codes_offset = 0,
          .store = format_.open == KvType::f16 ? kernel::Store::f16 : kernel::Store::f32,
          .bits = 0,
          .zero = 0,
          .scales_f32 = 0};
}

kernel::Tiles KvCache::keys(int64_t layer, int64_t head, int64_t block,
                            int64_t tokens) const noexcept {
  const Place& p = places_[static_cast<size_t>(layer)];
  return tiles_at(block, p.keys + head * p.keys_stride, tokens,
                  layers_[static_cast<size_t>(layer)].dim, p.key_tile);
}

kernel::Tiles KvCache::values(int64_t layer, int64_t head, int64_t block,
                              int64_t tokens) const noexcept {
  const Place& p = places_[static_cast<size_t>(layer)];
  return tiles_at(block, p.values + head * p.values_stride, layers_[static_cast<size_t>(layer)].dim,
                  tokens, p.value_tile);
}

kernel::Bf16Tiles KvCache::key_pairs(int64_t layer, int64_t head, int64_t block,
                                     int64_t from) const noexcept {
  const Place& p = places_[static_cast<size_t>(layer)];
  const std::byte* data =
      open_bytes(block) + p.keys + head * p.keys_stride + from / kLanes * p.key_tile;
  return {reinterpret_cast<const uint16_t*>(data), p.key_tile / 2, kKvBlock - from};
}

kernel::Bf16Tiles KvCache::value_pairs(int64_t layer, int64_t head, int64_t block,
                                       int64_t from) const noexcept {
  const Place& p = places_[static_cast<size_t>(layer)];
  const std::byte* data = open_bytes(block) + p.values + head * p.values_stride + from * kLanes * 2;
  return {reinterpret_cast<const uint16_t*>(data), p.value_tile / 2,
          layers_[static_cast<size_t>(layer)].dim};
}

ClosedPart KvCache::closed_keys(int64_t layer, int64_t head, int64_t block,
                                int64_t group) const noexcept {
  return closed_form(layer).keys(closed_bytes(layer, head, block), group);
}

ClosedPart KvCache::closed_values(int64_t layer, int64_t head, int64_t block,
                                  int64_t group) const noexcept {
  return closed_form(layer).values(closed_bytes(layer, head, block), group);
}

}  // namespace halftone::runtime
