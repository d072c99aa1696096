// Attention over a bf16 cache: both products are bf16 (kernel::Bf16Matmul), so that tile registers
// can do them. Queries, scaled, and exp(s - m) are rounded to bf16; m, l and what is merged stay
// f32. l is the sum of the rounded exp(s - m), so the weights of a query still sum to 1.
//
// m of a block is near its maximum, not equal to it, so that scores are computed once and piece by
// piece: the first 64 keys that a query sees give a whole number, and only where later ones pass it
// by more than 8 it rises. Probabilities so far are then multiplied by a power of two, which rounds
// nothing.
//
// Scores are taken to base 2: log2(e) goes into the scale of the queries where nothing is done to
// scores in between.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "halftone/base/half.h"
#include "halftone/runtime/attention_steps.h"

namespace halftone::runtime {
namespace {

// Rows of the tile registers, and how many keys they meet at a time: these scores stay in the first
// cache, those of a whole block would not. Few rows meet a whole block.
constexpr int64_t kPanel = 32, kScores = 64, kFewRows = 8;
// Keys that decide together whether a row's m rises, and by how many powers of two scores may pass
// it before it does.
constexpr int64_t kKeys = 64;
constexpr float kSlack = 8;
constexpr int64_t kStep = kernel::kBf16Step, kLanes = kernel::kTileRows;
static_assert(kScores % kKeys == 0 && kKvBlock % kScores == 0 && kKeys % kStep == 0);
constexpr float kLog2E = 1.44269504088896341f, kLn2 = 0.69314718055994531f;

int64_t up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

template <class T>
T* room(HostTensor& tensor, int64_t count) {
  const auto bytes = count * static_cast<int64_t>(sizeof(T));
  if (tensor.count() < bytes) tensor = HostTensor(DType::u8, Shape{bytes});
  return reinterpret_cast<T*>(tensor.bytes().data());
}

void hide(float* scores, int64_t n) {
  static constexpr auto kHidden = [] {
    std::array<float, kKvBlock> all{};
    for (float& y : all) y = kMinusInfinity;
    return all;
  }();
  std::memcpy(scores, kHidden.data(), static_cast<size_t>(n) * sizeof(float));
}

// The softmax of a panel's rows over one block: m as above, sums by lanes, probabilities.
struct Softmax {
  const kernel::VectorOps& ops;
  uint16_t* p;             // [kPanel][kKvBlock]
  float *lanes, *largest;  // [kPanel][16]
  std::array<float, kPanel> m, limit, top;

  void start(int64_t rows) {
    m.fill(0);  // where a row sees nothing: 2^(-infinity - 0) is 0
    limit.fill(kMinusInfinity);
    std::fill_n(lanes, rows * kLanes, 0.0f);
  }

  // Takes in scores of keys [at, at + n) of the block, n at most kKeys; keys from `begin` on were
  // taken in before.
  void add(const float* scores, int64_t ld, int64_t rows, int64_t begin, int64_t at, int64_t n) {
    uint64_t above = ops.rows_above(scores, ld, rows, n, limit.data());
    if (above != 0) {
      std::fill_n(largest, rows * kLanes, kMinusInfinity);
      ops.lane_max(scores, ld, rows, n, largest);
      ops.lanes_largest(largest, rows, top.data());
      for (; above != 0; above &= above - 1) raise(std::countr_zero(above), begin, at);
    }
    ops.exp2_bf16(scores, ld, rows, n, m.data(), p + at, kKvBlock, lanes);
  }

  void raise(int row, int64_t begin, int64_t end) {
    const auto r = static_cast<size_t>(row);
    // Not above, after all: a maximum was lost beside a NaN.
    const float next = top[r] > limit[r] ? std::ceil(top[r]) : NAN, fall = m[r] - next;
    if (limit[r] != kMinusInfinity) {
      const float factor = fall >= -126 ? std::ldexp(1.0f, static_cast<int>(fall)) : fall * 0.0f;
      ops.scale(lanes + row * kLanes, factor, kLanes, lanes + row * kLanes);
      std::array<float, kStep> wide;
      for (int64_t k = begin; k < end; k += kStep) {
        uint16_t* some = p + row * kKvBlock + k;
        for (size_t i = 0; i < wide.size(); ++i) wide[i] = bf16_to_f32(some[i]);
        ops.to_bf16(wide.data(), factor, kStep, some);
      }
    }
    m[r] = next;
    limit[r] = next + kSlack;
  }

  void finish(int64_t rows, float* m_out, float* l_out) const {
    ops.lanes_sum(lanes, rows, l_out);
    for (int64_t i = 0; i < rows; ++i) {
      const auto r = static_cast<size_t>(i);
      // Sums of rows that see nothing are 0; NaN where maxima lost a NaN.
      const bool nothing = limit[r] == kMinusInfinity && l_out[i] == 0;
      m_out[i] = nothing ? kMinusInfinity : m[r] * kLn2;
    }
  }
};

}  // namespace

// Rows [row, row + count) of a task, and the keys [start, end) that some of them see.
struct AttentionRunner::Panel {
  int64_t row, count, first, last;  // tokens of the call
  int64_t start, end;
};

// Scores of a panel against keys [at, stop) of a block, to base 2; -infinity where a query does not
// see a key.
void AttentionRunner::score(const Task& task, const Panel& panel, Scratch& s, const uint16_t* q,
                            int64_t block, int64_t at, int64_t stop, bool first, float* scores,
                            int64_t ld) const {
  const AttentionCall& call = *task.call;
  const spec::Attention& a = *call.attention;
  const int64_t group = a.heads / a.kv_heads, wide = call.cache->padded(a.head_dim),
                base = block * kKvBlock;
  kernels_.matmul_bf16({.w = call.cache->key_pairs(call.layer, task.head, block, at),
                        .x = q + panel.row * wide,
                        .ldx = wide,
                        .m = panel.count,
                        .k = wide,
                        .y = scores,
                        .ldy = ld,
                        .tile_begin = 0,
                        .tile_end = (stop - at) / kLanes,
                        .first = first,
                        .last = false});
  const bool changed = a.softcap != 0 || a.bias == spec::Attention::Bias::alibi;
  const int64_t from = a.window > 0 ? call.position + panel.last - a.window + 1 : 0,
                to = a.causal ? call.position + panel.first + 1 : panel.end;
  if (!changed && call.key_visible == nullptr && base + at >= from && base + stop <= to) return;
  const int64_t keys = std::min(stop, panel.end - base) - at;
  for (int64_t i = 0; i < panel.count; ++i) {
    const int64_t r = panel.row + i;
    float* x = scores + i * ld;
    const auto [low, high] = see(call, s, task.head * group + r % group,
                                 call.position + task.begin + r / group, base + at, keys, x);
    if (changed && low < high) kernels_.vector->scale(x + low, kLog2E, high - low, x + low);
    hide(x, low);
    hide(x + high, stop - at - high);
  }
}

void AttentionRunner::attend_bf16(const Task& task, Scratch& s) {
  const AttentionCall& call = *task.call;
  const spec::Attention& a = *call.attention;
  const kernel::VectorOps& ops = *kernels_.vector;
  const int64_t group = a.heads / a.kv_heads, dim = a.head_dim, wide = call.cache->padded(dim),
                rows = (task.end - task.begin) * group;
  auto* q = room<uint16_t>(s.q_bf16, rows * wide);
  auto* scores = room<float>(s.scores_bf16, std::max(kPanel * kScores, kFewRows * kKvBlock));
  auto* lanes = room<float>(s.lanes, 2 * kPanel * kLanes);
  Softmax softmax{.ops = ops,
                  .p = room<uint16_t>(s.p_bf16, kPanel * kKvBlock),
                  .lanes = lanes,
                  .largest = lanes + kPanel * kLanes,
                  .m = {},
                  .limit = {},
                  .top = {}};
  s.q.resize(std::max(s.q.size(), static_cast<size_t>(dim)));
  s.block_out.resize(std::max(s.block_out.size(), static_cast<size_t>(kPanel * dim)));
  s.out.resize(std::max(s.out.size(), static_cast<size_t>(kPanel * dim)));
  for (auto* v : {&s.m, &s.l, &s.block_m, &s.block_l})
    v->resize(std::max(v->size(), static_cast<size_t>(kPanel)));

  const bool changed = a.softcap != 0 || a.bias == spec::Attention::Bias::alibi;
  const float scale = static_cast<float>(a.scale) * (changed ? 1.0f : kLog2E);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t t = task.begin + r / group;
    const float* x = call.q.at(t, task.head * group + r % group);
    if (call.rope != nullptr) {
      call.rope->rotate(x, call.position + t, ops, s.q.data());
      const int64_t turned = call.rope->rope().dims;
      std::copy(x + turned, x + dim, s.q.data() + turned);
      x = s.q.data();
    }
    ops.to_bf16(x, scale, dim, q + r * wide);
    std::fill(q + r * wide + dim, q + (r + 1) * wide, uint16_t{0});
  }

  for (int64_t r0 = 0; r0 < rows; r0 += kPanel) {
    const int64_t count = std::min(kPanel, rows - r0);
    Panel panel{.row = r0,
                .count = count,
                .first = task.begin + r0 / group,
                .last = task.begin + (r0 + count - 1) / group,
                .start = 0,
                .end = 0};
    panel.end = call.position + (a.causal ? panel.last + 1 : call.tokens);
    if (a.window > 0)
      panel.start = std::max<int64_t>(0, call.position + panel.first - a.window + 1);
    const RowResults all{s.m.data(), s.l.data(), s.out.data(), dim};
    RowResults part{s.block_m.data(), s.block_l.data(), s.block_out.data(), dim};
    int64_t block = panel.start / kKvBlock, blocks = (panel.end - 1) / kKvBlock + 1;
    if (task.block >= 0) {
      block = task.block;
      blocks = block + 1;
      part = split_rows(task, r0);
    } else {
      std::fill_n(all.m, count, kMinusInfinity);
      std::fill_n(all.l, count, 0.0f);
      std::fill_n(all.o, count * dim, 0.0f);
    }
    for (bool first = true; block < blocks; ++block) {
      // What is computed of the block: whole steps of products, whole pieces of 64 keys.
      const int64_t base = block * kKvBlock,
                    from = std::max<int64_t>(0, panel.start - base) / kKeys * kKeys,
                    to = up(std::min(kKvBlock, panel.end - base), kStep),
                    width = count <= kFewRows ? kKvBlock : kScores;
      softmax.start(count);
      for (int64_t at = from; at < to; at += width) {
        const int64_t stop = std::min(to, at + width);
        score(task, panel, s, q, block, at, stop, first, scores, width);
        first = false;
        for (int64_t k = at; k < stop; k += kKeys)
          softmax.add(scores + k - at, width, count, from, k, std::min(kKeys, stop - k));
      }
      softmax.finish(count, part.m, part.l);
      kernels_.matmul_bf16({.w = call.cache->value_pairs(call.layer, task.head, block, from),
                            .x = softmax.p + from,
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
