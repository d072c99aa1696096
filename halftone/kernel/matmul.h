// y = x W^T for every kind of weights the runtime holds: one call, whatever the bits, the mode and
// the number of rows.
//
// Meaning, to the last bit, on every instruction set, for every M and every split over threads (fma
// = one rounding):
//   int8    D[u]   = sum over k in unit u of (code - zero) * x8      (exact integer)
//           y      = 0, then for u in order: y = fma(float(D[u]), s[group of u] * a[u], y)
//   with two-level scales, for each group G, all integer:
//           E[G]   = sum over its units of u[sub-group of u] * D[u]
//           y      = 0, then for G in order: y = fma(float(E[G]), s[G] / 256 * a[G], y)
//   tables  of 2-bit weights in pairs; X = round_half_even(x * (5418 / most)), where most is the
//   largest of |x[k]| / 2 + |x[k + 1]| / 2 over the pairs k = 0, 2, ... of unit u, a = most / 10836
//           T[k]   = for codes i, j: floor(((2i - 3) X[k] + (2j - 3) X[k + 1] + 128) / 256)
//           D[u]   = 256 * sum over pairs in u of T[k] of their codes
//                    - (2 zero - 3) * sum over k in u of X   (exact integer)
//           y      as int8, with this D and a
//   exact   p[u]   = 0, then for k in u in order: p = fma(float(code - zero), x, p)
//           y      = 0, then for u in order: y = fma(s[group of u], p[u], y)
//   dense   as exact with s = 1, the weight itself (f16 and bf16 widened) and units of 256 k
//   bf16    c      = 0, then for every 32 k in order: c = c + (t0 + t1), the even and the odd k:
//           t      = 0, then for the 16 k in order: t = fma(w, x, t)
//           x and w are bf16, each 0 or at least 2^-56 (Kernels::matmul_bf16, called directly; what
//           tdpbf16ps of AMX computes)
// So a row of a batch equals that row alone, prefill equals decode, and one machine's answer is
// another's.
//
// Threads: `matmul` over a tile range may run on many threads at once on disjoint ranges; with a
// pool it splits the tiles statically.
// Cost: reads tiles * tile_bytes once; m <= 8 is memory bound.
// Errors: none; `check`s that shapes and plan fit (pool form only).
#pragma once

#include <cstdint>

#include "halftone/kernel/activations.h"
#include "halftone/kernel/tiles.h"

namespace halftone::kernel {

// Can `w` take activations prepared with `plan`? Several weights with equal plans share one
// prepared input.
bool fits(const Tiles& w, const ActivationPlan& plan);

// y f32 [m][N], row stride ldy >= N; columns [16 * tile_begin, min(N, 16 * tile_end)) are
// overwritten, nothing else is touched.
void matmul(const Kernels& kernels, const TiledWeights& w, const Activations& x, float* y,
            int64_t ldy, int64_t tile_begin, int64_t tile_end) noexcept;
void matmul(const Kernels& kernels, const TiledWeights& w, const Activations& x, float* y,
            int64_t ldy, ThreadPool& pool);

}  // namespace halftone::kernel
