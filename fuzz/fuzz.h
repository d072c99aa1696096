// Shared by fuzz targets: which exceptions are answers, and which are findings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "halftone/base/error.h"

namespace halftone::fuzz {

// Runs `f`. A typed error is an answer; one with Code::internal, or any other exception, is a
// finding. True when nothing was thrown.
template <class F>
bool accepts(F&& f) {
  try {
    f();
    return true;
  } catch (const Error& e) {
    if (e.code() == Code::internal) {
      std::fprintf(stderr, "%s\n", e.what());
      std::abort();
    }
    return false;
  }
}

// A property that must hold for every input.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "broken property: %s\n", what);
  std::abort();
}

inline std::span<const std::byte> as_span(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const std::byte*>(data), size};
}

}  // namespace halftone::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
