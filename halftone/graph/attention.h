// softmax(scale * q k^T + bias, masked) v over a whole sequence, with everything spec::Attention
// can say.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "halftone/base/threads.h"
#include "halftone/graph/sequence.h"
#include "halftone/spec/model_spec.h"

namespace halftone::graph {

// q [B, T, H, D], k and v [B, T, Hkv, D], not yet rotated -> [B, T, H * D]. Differentiable.
// Memory: [B, H, T, T] when a gradient is wanted; else tiles of about kTileElements scores, whose
// keys outside causal reach and window are never computed. A query that may see no key at all (a
// padded one) gives finite values without meaning. A pool
// shares out the tiles; their sums do not depend on it.
at::Tensor attend(const spec::Attention& attention, at::Tensor q, at::Tensor k, const at::Tensor& v,
                  const Sequence& sequence, ThreadPool* pool = nullptr);

// Scores of one tile without gradient: what stays in a core's second-level cache.
inline constexpr int64_t kTileElements = 1 << 18;

// Rotates the first rope.dims of each head; x [B, T, heads, D].
at::Tensor rotate(const spec::Rope& rope, const at::Tensor& x, const Sequence& sequence);

}  // namespace halftone::graph
