#include "halftone/base/hash.h"

#include <algorithm>
#include <cstdio>
#include <vector>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "halftone/base/env.h"

namespace halftone {

struct Hasher::State {
  XXH3_state_t xxh;
};

Hasher::Hasher() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->xxh); }
Hasher::~Hasher() = default;

Hasher& Hasher::add(std::span<const std::byte> data) {
  XXH3_128bits_update(&state_->xxh, data.data(), data.size());
  return *this;
}

Hasher& Hasher::add(std::string_view text) {
  const uint64_t length = text.size();
  XXH3_128bits_update(&state_->xxh, &length, sizeof(length));
  XXH3_128bits_update(&state_->xxh, text.data(), text.size());
  return *this;
}

Hasher& Hasher::add(const ReadFile& file, uint64_t begin, uint64_t end) {
  constexpr uint64_t kPiece = 4 << 20;
  std::vector<std::byte> piece(static_cast<size_t>(std::min(kPiece, end - begin)));
  for (uint64_t at = begin; at < end;) {
    const auto part =
        std::span(piece).first(static_cast<size_t>(std::min<uint64_t>(piece.size(), end - at)));
    file.read(at, part);
    add(std::span<const std::byte>(part));
    at += part.size();
  }
  return *this;
}

std::string Hasher::hex() const {
  const XXH128_hash_t h = XXH3_128bits_digest(&state_->xxh);
  char out[33];
  std::snprintf(out, sizeof(out), "%016llx%016llx", static_cast<unsigned long long>(h.high64),
                static_cast<unsigned long long>(h.low64));
  return out;
}

uint64_t hash64(std::span<const std::byte> data) { return XXH3_64bits(data.data(), data.size()); }

}  // namespace halftone
