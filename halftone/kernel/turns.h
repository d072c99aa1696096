// How loops go through codes, the same for every instruction set. Included by per-ISA files:
// templates in an anonymous namespace, so that no copy compiled with their flags is linked
// elsewhere.
#pragma once

#include "halftone/kernel/kernels.h"

namespace halftone::kernel {
namespace {

// Kinds of codes that kernels are made for: widths of 1 to 8 bits, and 4-bit codes of a code book.
constexpr int kBook = 9;
template <int B>
constexpr int kBits = B == kBook ? 4 : B;
// What becomes whole bytes before anything else.
template <int B>
constexpr bool kPlanes = B == 1 || (B >= 5 && B <= 7);

// Columns that one turn of an exact-mode decode loop decodes, out of how many lines of 64 bytes.
template <int B>
constexpr int kTurn = B == 2 || kBits<B> == 4 ? 32 / kBits<B> : 32;
template <int B>
constexpr int kTurnLines = B == 2 || kBits<B> == 4 ? 1 : B;

// Which group and sub-group (two-level scales) a unit lies in, counted along instead of divided.
struct Place {
  explicit Place(const Tiles& w, int64_t units_per_group)
      : per_group(units_per_group), per_sub(w.sub / kTileCols) {}
  bool begins() const { return in_group == 0; }
  bool ends() const { return in_group + 1 == per_group; }  // or the row does
  void next() {
    if (++in_group == per_group) {
      in_group = 0;
      ++group;
    }
    if (++in_sub >= per_sub) {
      in_sub = 0;
      ++sub;
    }
  }
  const int64_t per_group, per_sub;
  int64_t group = 0, sub = 0, in_group = 0, in_sub = 0;
};

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

// f(Index<take>(), m) for the one of 1..Most that `take` is.
template <int Most, class F>
inline __attribute__((always_inline)) void with_rows(int64_t take, int64_t m, const F& f) {
  if constexpr (Most > 0) {
    if (take == Most)
      f(Index<Most>(), m);
    else
      with_rows<Most - 1>(take, m, f);
  }
}

// f(Index<R>(), m) for chunks of R rows, at most Most, as even as they come; m is the first of a
// chunk.
template <int Most, class F>
inline __attribute__((always_inline)) void by_rows(int64_t rows, const F& f) {
  for (int64_t m = 0; m < rows;) {
    const int64_t left = rows - m, half = (left + 1) / 2,
                  take = left <= Most  ? left
                         : half < Most ? half
                                       : Most;
    with_rows<Most>(take, m, f);
    m += take;
  }
}

// f(Index<J>(), tiles) for tiles [begin, end), J of them together, one from each of J equal parts:
// four for one row, two for up to `PairRows`, then singly.
template <int PairRows, class F>
inline __attribute__((always_inline)) void by_tiles(int64_t begin, int64_t end, int64_t rows,
                                                    const F& f) {
  int64_t t = begin;
  if (rows == 1) {
    const int64_t part = (end - t) / 4;
    for (int64_t i = 0; i < part; ++i) {
      const int64_t four[4] = {t + i, t + part + i, t + 2 * part + i, t + 3 * part + i};
      f(Index<4>(), four);
    }
    t += 4 * part;
  }
  if (rows <= PairRows) {
    const int64_t part = (end - t) / 2;
    for (int64_t i = 0; i < part; ++i) {
      const int64_t two[2] = {t + i, t + part + i};
      f(Index<2>(), two);
    }
    t += 2 * part;
  }
  for (; t < end; ++t) f(Index<1>(), &t);
}

// f(Index<B>()) for the kind of codes that the tiles hold.
template <class F>
inline __attribute__((always_inline)) void by_kind(const Tiles& w, const F& f) {
  if (w.book != 0) return f(Index<kBook>());
  switch (w.bits) {
    case 1:
      return f(Index<1>());
    case 2:
      return f(Index<2>());
    case 3:
      return f(Index<3>());
    case 4:
      return f(Index<4>());
    case 5:
      return f(Index<5>());
    case 6:
      return f(Index<6>());
    case 7:
      return f(Index<7>());
    default:
      return f(Index<8>());
  }
}

}  // namespace
}  // namespace halftone::kernel
