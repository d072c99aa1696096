#include "halftone/runtime/kv_cache.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace halftone::runtime {
namespace {
constexpr int64_t kLanes = kernel::kTileRows;
int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }
}  // namespace

KvCache::KvCache(std::vector<KvShape> layers, bool f16)
    : layers_(std::move(layers)), f16_(f16), element_(f16 ? 2 : 4) {
  for (const KvShape& l : layers_) {
    Place p{};
    p.padded_dim = up(l.dim, kLanes);
    p.keys = block_bytes_;
    p.keys_stride = up(kKvBlock * l.dim * element_, 64);
    block_bytes_ += l.heads * p.keys_stride;
    p.values = block_bytes_;
    p.values_stride = kKvBlock * p.padded_dim * element_;
    block_bytes_ += l.heads * p.values_stride;
    places_.push_back(p);
  }
}

void KvCache::reserve(int64_t count) {
  while (static_cast<int64_t>(blocks_.size()) * kKvBlock < count)
    blocks_.emplace_back(DType::u8, Shape{block_bytes_});
}

void KvCache::release() { blocks_.clear(); }

uint64_t KvCache::bytes_for(int64_t count) const {
  return static_cast<uint64_t>(block_bytes_ * (up(count, kKvBlock) / kKvBlock));
}

uint64_t KvCache::bytes() const { return static_cast<uint64_t>(block_bytes_) * blocks_.size(); }

void KvCache::write(int64_t layer, int64_t head, int64_t token, const float* k, const float* v,
                    const kernel::VectorOps& ops) noexcept {
  const KvShape& shape = layers_[static_cast<size_t>(layer)];
  const Place& p = places_[static_cast<size_t>(layer)];
  std::byte* base = blocks_[static_cast<size_t>(token / kKvBlock)].bytes().data();
  const int64_t t = token % kKvBlock;
  std::byte* keys = base + p.keys + head * p.keys_stride +
                    (t / kLanes * shape.dim * kLanes + t % kLanes) * element_;
  std::byte* values = base + p.values + head * p.values_stride + t * kLanes * element_;
  const auto scatter = [&](const auto* kx, const auto* vx) {
    for (int64_t d = 0; d < shape.dim; ++d)
      std::memcpy(keys + d * kLanes * element_, kx + d, sizeof(*kx));
    for (int64_t d = 0; d < shape.dim; d += kLanes)
      std::memcpy(values + d * kKvBlock * element_, vx + d,
                  static_cast<size_t>(std::min(kLanes, shape.dim - d) * element_));
  };
  if (!f16_) {
    scatter(k, v);
    return;
  }
  std::array<uint16_t, 64> kh, vh;
  static_assert(kh.size() % kLanes == 0);
  for (int64_t d = 0; d < shape.dim; d += static_cast<int64_t>(kh.size())) {
    const int64_t n = std::min<int64_t>(kh.size(), shape.dim - d);
    ops.to_f16(k + d, n, kh.data());
    ops.to_f16(v + d, n, vh.data());
    for (int64_t i = 0; i < n; ++i)
      std::memcpy(keys + (d + i) * kLanes * 2, &kh[static_cast<size_t>(i)], 2);
    for (int64_t i = 0; i < n; i += kLanes)
      std::memcpy(values + (d + i) * kKvBlock * 2, &vh[static_cast<size_t>(i)],
                  static_cast<size_t>(std::min(kLanes, n - i) * 2));
  }
}

kernel::Tiles KvCache::tiles_at(int64_t block, int64_t offset, int64_t rows, int64_t cols,
                                int64_t tile_cols) const noexcept {
  const std::byte* data = blocks_[static_cast<size_t>(block)].bytes().data() + offset;
  return {.data = reinterpret_cast<const uint8_t*>(data),
          .tile_bytes = tile_cols * kLanes * element_,
          .rows = rows,
          .cols = cols,
          .padded_cols = cols,
          .group = cols,
          .groups = 1,
          .zeros_offset = -1,
          .codes_offset = 0,
          .store = f16_ ? kernel::Store::f16 : kernel::Store::f32,
          .bits = 0,
          .zero = 0,
          .scales_f32 = 0};
}

kernel::Tiles KvCache::keys(int64_t layer, int64_t head, int64_t block,
                            int64_t tokens) const noexcept {
  const Place& p = places_[static_cast<size_t>(layer)];
  const int64_t dim = layers_[static_cast<size_t>(layer)].dim;
  return tiles_at(block, p.keys + head * p.keys_stride, tokens, dim, dim);
}

kernel::Tiles KvCache::values(int64_t layer, int64_t head, int64_t block,
                              int64_t tokens) const noexcept {
  const Place& p = places_[static_cast<size_t>(layer)];
  return tiles_at(block, p.values + head * p.values_stride, layers_[static_cast<size_t>(layer)].dim,
                  tokens, kKvBlock);
}

}  // namespace halftone::runtime
