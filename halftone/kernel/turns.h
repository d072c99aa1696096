// How loops go through codes, the same for every instruction set. Included by per-ISA files:
// templates in an anonymous namespace, so that no copy compiled with their flags is linked
// elsewhere.
#pragma once

namespace halftone::kernel {
namespace {

// Columns that one turn of an exact-mode decode loop decodes, out of how many lines of 64 bytes.
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

// f(Index<bits>()) for the widths that kernels are made for.
template <class F>
inline __attribute__((always_inline)) void by_bits(int bits, const F& f) {
  switch (bits) {
    case 2:
      return f(Index<2>());
    case 3:
      return f(Index<3>());
    case 4:
      return f(Index<4>());
    default:
      return f(Index<8>());
  }
}

}  // namespace
}  // namespace halftone::kernel
