// Attention over a bf16 cache: both products are bf16 (kernel::Bf16Matmul), so that tile registers
// can do them. Queries, scaled, and exp(s - m) are rounded to bf16; m, l and what is merged stay
// f32. l is the sum of the rounded exp(s - m), so the weights of a query still sum to 1.
//
// Scores are taken to base 2: log2(e) goes into the scale of the queries where nothing is done to
// scores in between.
#include <algorithm>
#include <array>
#include <cstring>

#include "halftone/runtime/attention_steps.h"

namespace halftone::runtime {
namespace {

// Rows of the tile registers, and how many keys they meet at a time. 8 KiB of scores stay in the
// first cache, where those of a whole block would not: that costs more than computing them twice,
// once for the maxima. Few rows meet a whole block.
constexpr int64_t kPanel = 32, kKeys = 64, kFewRows = 8;
constexpr int64_t kStep = kernel::kBf16Step, kLanes = kernel::kTileRows;
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.69314718055994531f;

int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

template <class T>
T* room(HostTensor& tensor, int64_t count) {
  const auto bytes = count * static_cast<int64_t>(sizeof(T));
  if (tensor.count() < bytes) tensor = HostTensor(DType::u8, Shape{bytes});
  return reinterpret_cast<T*>(tensor.bytes().data());
}

void hide(float* x, int64_t n) {
  static constexpr auto kHidden = [] {
    std::array<float, kKvBlock> all{};
    for (float& y : all) y = kMinusInfinity;
    return all;
  }();
  std::memcpy(x, kHidden.data(), static_cast<size_t>(n) * sizeof(float));
}

}  // namespace

void AttentionRunner::attend_bf16(const Task& task, Scratch& s) {
  const AttentionCall& call = *task.call;
  const spec::Attention& a = *call.attention;
  const kernel::VectorOps& ops = *kernels_.vector;
  const int64_t group = a.heads / a.kv_heads, dim = a.head_dim, wide = call.cache->padded(dim),
                rows = (task.end - task.begin) * group;
  const bool changed = a.softcap != 0 || a.bias == spec::Attention::Bias::alibi,
             padding = call.key_visible != nullptr;
  const float scale = static_cast<float>(a.scale) * (changed ? 1.0f : kLog2E);
  auto* q = room<uint16_t>(s.q_bf16, rows * wide);
  auto* scores = room<float>(s.scores_bf16, std::max(kPanel * kKeys, kFewRows * kKvBlock));
  auto* p = room<uint16_t>(s.p_bf16, kPanel * kKvBlock);
  auto* lanes = room<float>(s.lanes, kPanel * kLanes);
  s.q.resize(std::max(s.q.size(), static_cast<size_t>(wide)));
  s.block_out.resize(std::max(s.block_out.size(), static_cast<size_t>(kPanel * dim)));
  s.out.resize(std::max(s.out.size(), static_cast<size_t>(kPanel * dim)));
  for (auto* v : {&s.m, &s.l, &s.block_m, &s.block_l})
    v->resize(std::max(v->size(), static_cast<size_t>(kPanel)));

  for (int64_t r = 0; r < rows; ++r) {
    const int64_t t = task.begin + r / group;
    const float* x = call.q.at(t, task.head * group + r % group);
    if (call.rope != nullptr) {
      call.rope->rotate(x, call.position + t, ops, s.q.data());
      const int64_t turned = call.rope->rope().dims;
      if (turned < dim) std::copy(x + turned, x + dim, s.q.data() + turned);
      x = s.q.data();
    }
    ops.to_bf16(x, scale, dim, q + r * wide);
    std::fill(q + r * wide + dim, q + (r + 1) * wide, uint16_t{0});
  }

  for (int64_t r0 = 0; r0 < rows; r0 += kPanel) {
    const int64_t count = std::min(kPanel, rows - r0), begin = task.begin + r0 / group,
                  last = task.begin + (r0 + count - 1) / group;
    // Of this panel's keys [start, end), whole steps of a product are computed.
    const int64_t end = call.position + (a.causal ? last + 1 : call.tokens);
    const int64_t start =
        a.window > 0 ? std::max<int64_t>(0, call.position + begin - a.window + 1) : 0;
    const RowResults all{s.m.data(), s.l.data(), s.out.data(), dim};
    RowResults part{s.block_m.data(), s.block_l.data(), s.block_out.data(), dim};
    int64_t block = start / kKvBlock, blocks = (end - 1) / kKvBlock + 1;
    if (task.block >= 0) {
      block = task.block;
      blocks = block + 1;
      part = split_rows(task, r0);
    } else {
      std::fill_n(all.m, count, kMinusInfinity);
      std::fill_n(all.l, count, 0.0f);
      std::fill_n(all.o, count * dim, 0.0f);
    }
    bool first = true;  // product of this panel
    for (; block < blocks; ++block) {
      const int64_t base = block * kKvBlock, n = std::min(kKvBlock, end - base),
                    from = std::max<int64_t>(0, start - base) / kStep * kStep, to = up(n, kStep);
      const int64_t width = count <= kFewRows ? kKvBlock : kKeys;
      // Scores of keys [at, stop) of the block; -infinity for those that a query does not see.
      const auto score = [&](int64_t at, int64_t stop) {
        kernels_.matmul_bf16({.w = call.cache->key_pairs(call.layer, task.head, block, at),
                              .x = q + r0 * wide,
                              .ldx = wide,
                              .m = count,
                              .k = wide,
                              .y = scores,
                              .ldy = width,
                              .tile_begin = 0,
                              .tile_end = (stop - at) / kLanes,
                              .first = first,
                              .last = false});
        first = false;
        const int64_t all_from = a.window > 0 ? call.position + last - a.window + 1 - base : 0;
        const int64_t all_to = a.causal ? call.position + begin + 1 - base : n;
        if (!changed && !padding && at >= all_from && stop <= all_to) return;
        for (int64_t i = 0; i < count; ++i) {
          const int64_t r = r0 + i;
          float* x = scores + i * width;
          const auto [low, high] =
              see(call, s, task.head * group + r % group, call.position + task.begin + r / group,
                  base + at, std::min(stop, n) - at, x);
          if (changed && low < high) ops.scale(x + low, kLog2E, high - low, x + low);
          hide(x, low);
          hide(x + high, stop - at - high);
        }
      };
      std::fill_n(lanes, count * kLanes, kMinusInfinity);
      for (int64_t at = from + (to - from - 1) / width * width; at >= from; at -= width) {
        const int64_t stop = std::min(to, at + width);
        score(at, stop);
        ops.lane_max(scores, width, count, stop - at, lanes);
      }
      std::array<float, kPanel> tops;
      ops.lanes_largest(lanes, count, tops.data());
      for (int64_t i = 0; i < count; ++i) {
        float& top = tops[static_cast<size_t>(i)];
        part.m[i] = top * kLn2;
        if (top == kMinusInfinity) top = 0;  // 2^-infinity is zero
      }
      std::fill_n(lanes, count * kLanes, 0.0f);
      for (int64_t at = from; at < to; at += width) {
        const int64_t stop = std::min(to, at + width);
        if (at > from) score(at, stop);  // the first ones are those that came last above
        ops.exp2_bf16(scores, width, count, stop - at, tops.data(), p + at, kKvBlock, lanes);
      }
      ops.lanes_sum(lanes, count, part.l);
      kernels_.matmul_bf16({.w = call.cache->value_pairs(call.layer, task.head, block, from),
                            .x = p + from,
                            .ldx = kKvBlock,
                            .m = count,
                            .k = to - from,
                            .y = part.o,
                            .ldy = dim,
                            .tile_begin = 0,
                            .tile_end = up(dim, kLanes) / kLanes,
                            .first = false,
                            .last = block + 1 == blocks});
      if (task.block < 0) merge_rows(ops, count, dim, part, all);
    }
    if (task.block >= 0) continue;
    for (int64_t i = 0; i < count; ++i)
      finish(ops, all.o + i * dim, all.l[i], dim,
             call.out.at(task.begin + (r0 + i) / group, task.head * group + (r0 + i) % group));
  }
}

}  // namespace halftone::runtime
