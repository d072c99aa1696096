// Content hashes. Xxh3 for journals and fingerprints (128 bit, fast); SHA-256 lives with the hub
// (files/hub.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace halftone {

class ReadFile;

class Hasher {
 public:
  Hasher();
  ~Hasher();
  Hasher& add(std::span<const std::byte> data);
  Hasher& add(std::string_view text);  // length-prefixed, so that {"ab","c"} and {"a","bc"} differ
  Hasher& add(const ReadFile& file, uint64_t begin, uint64_t end);  // its bytes, read in pieces
  std::string hex() const;                                          // 32 lower-case digits

 private:
  struct State;
  std::unique_ptr<State> state_;
};

uint64_t hash64(std::span<const std::byte> data);  // xxh3, 64 bit

}  // namespace halftone
