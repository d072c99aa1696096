#include "halftone/graph/attention.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

#include "halftone/base/error.h"
#include "halftone/graph/torch.h"
#include "halftone/spec/alibi.h"

namespace halftone::graph {
namespace {

// Queries [first_row, last_row) against keys [first_key, last_key).
struct Tile {
  int64_t first_row, last_row, first_key, last_key;
  int64_t rows() const { return last_row - first_row; }
  int64_t keys() const { return last_key - first_key; }
};

// What is added to scores or forbidden in them, for one tile; the same for every layer and sample
// of one shape.
struct Bias {
  int64_t first_column = 0;  // columns before it are all allowed
  at::Tensor forbidden;      // bool [R, C - first_column], undefined when every pair is allowed
  at::Tensor distance;       // j - i, [R, C], for alibi
};

Bias bias_of(const spec::Attention& a, const Tile& tile, const at::Tensor& like) {
  Bias bias;
  const bool future = a.causal && tile.last_key > tile.first_row + 1;
  const bool past = a.window > 0 && tile.first_key <= tile.last_row - 1 - a.window;
  const bool alibi = a.bias == spec::Attention::Bias::alibi;
  if (!future && !past && !alibi) return bias;
  // Without window only the tile's last square is mixed.
  if (!past && !alibi) bias.first_column = std::max<int64_t>(0, tile.first_row - tile.first_key);
  const auto options = like.options().dtype(c10::kLong);
  const at::Tensor i = at::arange(tile.first_row, tile.last_row, options).unsqueeze(1);
  const at::Tensor j =
      at::arange(tile.first_key + bias.first_column, tile.last_key, options).unsqueeze(0);
  const at::Tensor distance = j - i;
  if (future) bias.forbidden = distance.gt(0);
  if (past) {
    const at::Tensor old = distance.le(-a.window);
    bias.forbidden = bias.forbidden.defined() ? bias.forbidden.logical_or(old) : old;
  }
  if (alibi) bias.distance = distance.to(like.scalar_type());
  return bias;
}

// Lowest finite rather than -inf: a query that may see nothing then gives a plain mean instead of
// NaN.
c10::Scalar lowest(const at::Tensor& like) {
  switch (like.scalar_type()) {
    case c10::kDouble:
      return std::numeric_limits<double>::lowest();
    case c10::kHalf:
      return static_cast<double>(std::numeric_limits<c10::Half>::lowest());
    case c10::kBFloat16:
      return static_cast<double>(std::numeric_limits<c10::BFloat16>::lowest());
    default:
      return std::numeric_limits<float>::lowest();
  }
}

// scores [..., R, C] -> probabilities. `padded` (bool, broadcasts) is true where a key is padding.
at::Tensor probabilities(const spec::Attention& a, at::Tensor scores, const Bias& bias,
                         const at::Tensor& slopes, const at::Tensor& padded) {
  if (a.softcap > 0) scores = (scores / a.softcap).tanh() * a.softcap;
  if (bias.distance.defined()) scores = scores + slopes * bias.distance;
  if (scores.requires_grad()) {
    check(bias.first_column == 0, "the dense path masks whole rows");
    if (bias.forbidden.defined()) scores = scores.masked_fill(bias.forbidden, lowest(scores));
    if (padded.defined()) scores = scores.masked_fill(padded, lowest(scores));
    return at::softmax(scores, -1);
  }
  if (bias.forbidden.defined())
    scores.slice(-1, bias.first_column).masked_fill_(bias.forbidden, lowest(scores));
  if (padded.defined()) scores.masked_fill_(padded, lowest(scores));
  at::_softmax_out(scores, scores, -1, false);  // row by row, so the tile may be its own output
  return scores;
}

at::Tensor slopes_tensor(const spec::Attention& a, const at::Tensor& like) {
  if (a.bias != spec::Attention::Bias::alibi) return {};
  return at::tensor(c10::ArrayRef<double>(spec::alibi_slopes(a.heads)), c10::kDouble)
      .to(like.options());
}

// All heads at once; every intermediate is kept for the gradient anyway.
at::Tensor attend_dense(const spec::Attention& a, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const at::Tensor& padded) {
  const int64_t B = q.size(0), T = q.size(1), D = a.head_dim, H = a.heads, kv = a.kv_heads,
                G = H / kv;
  // Heads of one kv head are neighbours: fold them into rows, so that one product serves the group.
  const at::Tensor rows =
      q.reshape({B, T, kv, G, D}).permute({0, 2, 3, 1, 4}).reshape({B * kv, G * T, D});
  const at::Tensor keys = k.permute({0, 2, 3, 1}).reshape({B * kv, D, T});
  const at::Tensor values = v.permute({0, 2, 1, 3}).reshape({B * kv, T, D});
  const at::Tensor scores = at::bmm(rows, keys).view({B, kv, G, T, T});
  at::Tensor slopes = slopes_tensor(a, q);
  if (slopes.defined()) slopes = slopes.view({1, kv, G, 1, 1});
  const at::Tensor mask = padded.defined() ? padded.view({B, 1, 1, 1, T}) : at::Tensor();
  const at::Tensor p = probabilities(a, scores, bias_of(a, {0, T, 0, T}, q), slopes, mask);
  return at::bmm(p.view({B * kv, G * T, T}), values)
      .view({B, kv, G, T, D})
      .permute({0, 3, 1, 2, 4})
      .reshape({B, T, H * D});
}

// Tiles of queries, one kv head at a time: a few MB whatever the length.
at::Tensor attend_tiled(const spec::Attention& a, const at::Tensor& q, const at::Tensor& k,
                        const at::Tensor& v, const at::Tensor& padded, ThreadPool* pool) {
  const int64_t B = q.size(0), T = q.size(1), D = a.head_dim, H = a.heads, kv = a.kv_heads,
                G = H / kv;
  const int64_t reach = a.window > 0 ? std::min(a.window, T) : T;
  const int64_t tile_rows = std::clamp<int64_t>(kTileElements / (G * reach), 16, 512);
  const at::Tensor slopes = slopes_tensor(a, q);
  const int64_t tiles = (T + tile_rows - 1) / tile_rows;
  at::Tensor out = at::empty({B, T, H, D}, q.options());
  const auto compute = [&](int64_t task) {
    // The last tile first: causal tiles grow, and the largest should not be the last to start.
    const int64_t h = task % kv, b = task / kv % B, row = (tiles - 1 - task / (kv * B)) * tile_rows;
    const Tile tile{row, std::min(row + tile_rows, T),
                    a.window > 0 ? std::max<int64_t>(0, row - a.window + 1) : 0,
                    a.causal ? std::min(row + tile_rows, T) : T};
    const auto keys_of = [&](const at::Tensor& x) {
      return x[b].select(1, h).slice(0, tile.first_key, tile.last_key);
    };
    const auto queries_of = [&](const at::Tensor& x) {
      return x[b].slice(0, tile.first_row, tile.last_row).slice(1, h * G, (h + 1) * G);
    };
    const at::Tensor rows = queries_of(q).transpose(0, 1).reshape({G * tile.rows(), D});
    const at::Tensor scores = at::mm(rows, keys_of(k).t()).view({G, tile.rows(), tile.keys()});
    const at::Tensor slope =
        slopes.defined() ? slopes.slice(0, h * G, (h + 1) * G).view({G, 1, 1}) : slopes;
    const at::Tensor mask =
        padded.defined() ? padded[b].slice(0, tile.first_key, tile.last_key) : at::Tensor();
    const at::Tensor p = probabilities(a, scores, bias_of(a, tile, q), slope, mask);
    const at::Tensor y = at::mm(p.view({G * tile.rows(), tile.keys()}), keys_of(v));
    queries_of(out).copy_(y.view({G, tile.rows(), D}).transpose(0, 1));
  };
  if (pool == nullptr) {
    for (int64_t task = 0; task < tiles * B * kv; ++task) compute(task);
  } else {
    pool->each(tiles * B * kv, [&](int64_t task) {
      const at::NoGradGuard no_grad;
      use_one_thread_here();
      compute(task);
    });
  }
  return out.view({B, T, H * D});
}

}  // namespace

at::Tensor attend(const spec::Attention& a, at::Tensor q, at::Tensor k, const at::Tensor& v,
                  const Sequence& sequence, ThreadPool* pool) {
  if (a.rope) {
    q = rotate(*a.rope, q, sequence);
    k = rotate(*a.rope, k, sequence);
  }
  if (a.scale != 1.0) q = q * a.scale;  // T x D products instead of T x T
  const at::Tensor padded =
      sequence.present().defined() ? sequence.present().logical_not().to(q.device()) : at::Tensor();
  const bool wants_gradient =
      at::GradMode::is_enabled() && (q.requires_grad() || k.requires_grad() || v.requires_grad());
  return wants_gradient ? attend_dense(a, q, k, v, padded) : attend_tiled(a, q, k, v, padded, pool);
}

at::Tensor rotate(const spec::Rope& rope, const at::Tensor& x, const Sequence& sequence) {
  const auto [cos, sin] = sequence.rotation(rope, x);
  const int64_t half = rope.dims / 2, rest = x.size(-1) - rope.dims;
  const at::Tensor first = rope.interleaved ? x.slice(-1, 0, rope.dims, 2) : x.slice(-1, 0, half);
  const at::Tensor second =
      rope.interleaved ? x.slice(-1, 1, rope.dims, 2) : x.slice(-1, half, rope.dims);
  const at::Tensor turned_first = (first * cos).addcmul(second, sin, -1);
  const at::Tensor turned_second = (second * cos).addcmul(first, sin);
  std::vector<at::Tensor> parts;
  if (rope.interleaved) {
    parts = {at::stack({turned_first, turned_second}, -1).flatten(-2)};
  } else {
    parts = {turned_first, turned_second};
  }
  if (rest > 0) parts.push_back(x.slice(-1, rope.dims));
  return parts.size() == 1 ? parts.front() : at::cat(parts, -1);
}

}  // namespace halftone::graph
