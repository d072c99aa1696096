// How the loops of exact-mode decode go through codes, the same for every instruction set. Included
// by per-ISA files: templates in an anonymous namespace, so that no copy compiled with their flags
// is linked elsewhere.
#pragma once

namespace halftone::kernel {
namespace {

// Columns that one turn of the loop decodes, out of how many lines of 64 bytes.
template <int B>
constexpr int kTurn = B == 2 || B == 4 ? 32 / B : 32;
template <int B>
constexpr int kTurnLines = B == 2 || B == 4 ? 1 : B;

template <int I>
struct Index {
  static constexpr int kValue = I;
};
template <int N, int I = 0, class F>
inline __attribute__((always_inline)) void unrolled(
    const F& f) {  // f(Index<0>()), ... f(Index<N - 1>())
  if constexpr (I < N) {
    f(Index<I>());
    unrolled<N, I + 1>(f);
  }
}

}  // namespace
}  // namespace halftone::kernel
