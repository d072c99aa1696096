#include "halftone/runtime/kv_cache.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "halftone/base/error.h"

namespace halftone::runtime {
namespace {
constexpr int64_t kLanes = kernel::kTileRows;
constexpr int64_t kScaleBytes = kLanes * 4;  // f32 scales of a tile's rows
int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }
}  // namespace

KvCache::KvCache(std::vector<KvShape> layers, KvType type)
    : layers_(std::move(layers)),
      type_(type),
      element_(type == KvType::f32  ? 4
               : type == KvType::i8 ? 1
                                    : 2) {
  check(type != KvType::by_numerics, "a cache has a type");
  const int64_t header = type == KvType::i8 ? kScaleBytes : 0;
  for (const KvShape& l : layers_) {
    check(type != KvType::i8 || l.dim <= kernel::kMaxUnit, "an int8 cache of wide heads");
    Place p{};
    p.key_tile = header + padded(l.dim) * kLanes * element_;
    p.value_tile = header + kKvBlock * kLanes * element_;
    p.keys = block_bytes_;
    p.keys_stride = up(kKvBlock / kLanes * p.key_tile, 64);
    block_bytes_ += l.heads * p.keys_stride;
    p.values = block_bytes_;
    p.values_stride = up(l.dim, kLanes) / kLanes * p.value_tile;
    block_bytes_ += l.heads * p.values_stride;
    p.scales = block_bytes_;
    if (type == KvType::i8) block_bytes_ += l.heads * kKvBlock * 4;
    places_.push_back(p);
  }
}

int64_t KvCache::padded(int64_t cols) const noexcept {
  static_assert(kernel::kTileCols == kernel::kBf16Step);
  return type_ == KvType::i8 || type_ == KvType::bf16 ? up(cols, kernel::kTileCols) : cols;
}

void KvCache::reserve(int64_t from, int64_t count) {
  for (auto b = static_cast<size_t>(from / kKvBlock); b < blocks_.size(); ++b)
    if (blocks_[b].use_count() > 1) blocks_[b] = std::make_shared<HostTensor>(blocks_[b]->clone());
  while (static_cast<int64_t>(blocks_.size()) * kKvBlock < count)
    blocks_.push_back(std::make_shared<HostTensor>(DType::u8, Shape{block_bytes_}));
}

void KvCache::share(const KvCache& other, int64_t tokens) {
  check(&other != this && layers_ == other.layers_ && type_ == other.type_ &&
            tokens <= std::ssize(other.blocks_) * kKvBlock,
        "a cache shares what another of its kind holds");
  const auto blocks = static_cast<size_t>(up(tokens, kKvBlock) / kKvBlock);
  blocks_.assign(other.blocks_.begin(),
                 other.blocks_.begin() + static_cast<std::ptrdiff_t>(blocks));
  reserve(tokens, tokens);
}

void KvCache::release() { blocks_.clear(); }

uint64_t KvCache::bytes_for(int64_t count) const {
  return static_cast<uint64_t>(block_bytes_ * (up(count, kKvBlock) / kKvBlock));
}

uint64_t KvCache::bytes() const { return static_cast<uint64_t>(block_bytes_) * blocks_.size(); }

void KvCache::write(int64_t layer, int64_t head, int64_t token, const float* k, const float* v,
                    const kernel::Kernels& kernels) noexcept {
  const KvShape& shape = layers_[static_cast<size_t>(layer)];
  const Place& p = places_[static_cast<size_t>(layer)];
  std::byte* base = blocks_[static_cast<size_t>(token / kKvBlock)]->bytes().data();
  const int64_t t = token % kKvBlock;
  if (type_ == KvType::i8) return write_codes(shape, p, base, head, t, k, v, kernels);
  if (type_ == KvType::bf16) return write_pairs(shape, p, base, head, t, k, v, kernels);
  std::byte* keys =
      base + p.keys + head * p.keys_stride + t / kLanes * p.key_tile + t % kLanes * element_;
  std::byte* values = base + p.values + head * p.values_stride + t * kLanes * element_;
  if (type_ == KvType::f32) {
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

void KvCache::close(int64_t layer, int64_t head, int64_t end) noexcept {
  if (type_ != KvType::bf16 || end % kernel::kBf16Step == 0) return;
  const Place& p = places_[static_cast<size_t>(layer)];
  std::byte* values = blocks_[static_cast<size_t>(end / kKvBlock)]->bytes().data() + p.values +
                      head * p.values_stride;
  const int64_t t = end % kKvBlock, last = up(t, kernel::kBf16Step);
  for (int64_t d = 0; d < layers_[static_cast<size_t>(layer)].dim; d += kLanes) {
    std::byte* tile = values + d / kLanes * p.value_tile;
    if (t % 2 == 1)
      for (int64_t i = 0; i < kLanes; ++i) std::memset(tile + t / 2 * 64 + i * 4 + 2, 0, 2);
    std::memset(tile + up(t, 2) / 2 * 64, 0, static_cast<size_t>((last - up(t, 2)) / 2 * 64));
  }
}

void KvCache::write_codes(const KvShape& shape, const Place& p, std::byte* block, int64_t head,
                          int64_t t, const float* k, const float* v,
                          const kernel::Kernels& kernels) noexcept {
  alignas(64) std::array<int8_t, kernel::kMaxUnit> codes;
  const int64_t dim = shape.dim, wide = padded(dim);
  const auto round = [&](const float* x) {  // returns the scale
    float a = 0;
    int32_t sum = 0;
    kernels.quantize({.x = x,
                      .ldx = dim,
                      .m = 1,
                      .cols = dim,
                      .padded_cols = wide,
                      .unit = wide,
                      .units = 1,
                      .block = wide,
                      .rows_per_panel = 1,
                      .depth = 4,
                      .codes = codes.data(),
                      .a = &a,
                      .sums = &sum,
                      .row_begin = 0,
                      .row_end = 1});
    for (int64_t d = 0; d < wide; ++d)
      codes[static_cast<size_t>(d)] ^= int8_t{-128};  // zero-point 128
    return a;
  };
  float scale = round(k);
  std::byte* tile = block + p.keys + head * p.keys_stride + t / kLanes * p.key_tile;
  std::memcpy(tile + t % kLanes * 4, &scale, 4);
  for (int64_t d = 0; d < wide; d += 4)  // a quad of a row
    std::memcpy(tile + kScaleBytes + d * kLanes + t % kLanes * 4, codes.data() + d, 4);

  scale = round(v);
  std::memcpy(block + p.scales + (head * kKvBlock + t) * 4, &scale, 4);
  for (int64_t d = 0; d < dim; ++d) {
    tile = block + p.values + head * p.values_stride + d / kLanes * p.value_tile;
    if (t == 0) {
      const float one = 1;
      std::memcpy(tile + d % kLanes * 4, &one, 4);
    }
    std::memcpy(tile + kScaleBytes + t / 4 * 64 + d % kLanes * 4 + t % 4, codes.data() + d, 1);
  }
}

kernel::Tiles KvCache::tiles_at(int64_t block, int64_t offset, int64_t rows, int64_t cols,
                                int64_t tile_bytes) const noexcept {
  const std::byte* data = blocks_[static_cast<size_t>(block)]->bytes().data() + offset;
  const bool codes = type_ == KvType::i8;
  return {.data = reinterpret_cast<const uint8_t*>(data),
          .tile_bytes = tile_bytes,
          .rows = rows,
          .cols = cols,
          .padded_cols = padded(cols),
          .group = padded(cols),
          .groups = 1,
          .zeros_offset = -1,
          .codes_offset = codes ? kScaleBytes : 0,
          .store = codes                  ? kernel::Store::codes
                   : type_ == KvType::f16 ? kernel::Store::f16
                                          : kernel::Store::f32,
          .bits = codes ? 8 : 0,
          .zero = codes ? 128 : 0,
          .scales_f32 = codes ? 1 : 0};
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
  const std::byte* data = blocks_[static_cast<size_t>(block)]->bytes().data() + p.keys +
                          head * p.keys_stride + from / kLanes * p.key_tile;
  return {reinterpret_cast<const uint16_t*>(data), p.key_tile / 2, kKvBlock - from};
}

kernel::Bf16Tiles KvCache::value_pairs(int64_t layer, int64_t head, int64_t block,
                                       int64_t from) const noexcept {
  const Place& p = places_[static_cast<size_t>(layer)];
  const std::byte* data = blocks_[static_cast<size_t>(block)]->bytes().data() + p.values +
                          head * p.values_stride + from * kLanes * 2;
  return {reinterpret_cast<const uint16_t*>(data), p.value_tile / 2,
          layers_[static_cast<size_t>(layer)].dim};
}

const float* KvCache::value_scales(int64_t layer, int64_t head, int64_t block) const noexcept {
  if (type_ != KvType::i8) return nullptr;
  const std::byte* data = blocks_[static_cast<size_t>(block)]->bytes().data() +
                          places_[static_cast<size_t>(layer)].scales + head * kKvBlock * 4;
  return reinterpret_cast<const float*>(data);
}

}  // namespace halftone::runtime
