#include "halftone/runtime/attention.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>

#include "halftone/runtime/attention_steps.h"
#include "halftone/spec/alibi.h"

namespace halftone::runtime {
namespace {

constexpr int64_t kRowsWanted = 72;       // rows of a task: 12 panels of 6, or 6 of 12
constexpr int64_t kRowsWantedBf16 = 96;   // 6 tiles of 16
constexpr double kWorthWaking = 1 << 17;  // multiply-adds

}  // namespace

void product(const kernel::Kernels& kernels, const kernel::Tiles& w, const kernel::Activations& x,
             float* y, int64_t ldy) {
  const int64_t units = x.plan().units(),
                tiles = (w.rows + kernel::kTileRows - 1) / kernel::kTileRows;
  const kernel::FloatMatmul job{.w = w,
                                .x = x.values(),
                                .m = x.rows(),
                                .unit = x.plan().unit,
                                .units = units,
                                .units_per_group = units,
                                .y = y,
                                .ldy = ldy,
                                .tile_begin = 0,
                                .tile_end = tiles};
  (x.rows() <= kernel::kRowsLimit ? kernels.gemv_float : kernels.gemm_float)(job);
}

void merge_rows(const kernel::VectorOps& ops, int64_t rows, int64_t dim, const RowResults& block,
                const RowResults& all) {
  constexpr int64_t kChunk = 32;
  for (int64_t begin = 0; begin < rows; begin += kChunk) {
    const int64_t count = std::min(kChunk, rows - begin);
    std::array<float, 2 * kChunk> factors;  // exp of what each running, each new maximum moves
    float *keep = factors.data(), *add = keep + count;
    const float *m = block.m + begin, *m_all = all.m + begin;
    for (int64_t i = 0; i < count; ++i) {
      const float top = std::max(m_all[i], m[i]);
      keep[i] = top == kMinusInfinity ? 0.0f : m_all[i] - top;
      add[i] = top == kMinusInfinity ? 0.0f : m[i] - top;
    }
    ops.exp_sum(keep, 2 * count, 1.0f, 0.0f, keep);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t r = begin + i;
      if (block.m[r] == kMinusInfinity) continue;
      all.m[r] = std::max(all.m[r], block.m[r]);
      all.l[r] = all.l[r] * keep[i] + block.l[r] * add[i];
      ops.mix(add[i], block.o + r * block.ld, keep[i], dim, all.o + r * all.ld);
    }
  }
}

void RopeTable::reserve(int64_t positions) {
  if (positions <= positions_) return;
  const int64_t half = rope_.dims / 2, grown = std::max(positions, 2 * positions_);
  cos_.resize(static_cast<size_t>(grown * half));
  sin_.resize(static_cast<size_t>(grown * half));
  for (int64_t p = positions_; p < grown; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(p) * rope_.inverse_frequency[static_cast<size_t>(i)];
      cos_[static_cast<size_t>(p * half + i)] =
          static_cast<float>(std::cos(angle) * rope_.magnitude);
      sin_[static_cast<size_t>(p * half + i)] =
          static_cast<float>(std::sin(angle) * rope_.magnitude);
    }
  }
  positions_ = grown;
}

void RopeTable::rotate(const float* x, int64_t position, const kernel::VectorOps& ops,
                       float* y) const noexcept {
  const int64_t half = rope_.dims / 2;
  const float* c = cos_.data() + position * half;
  const float* s = sin_.data() + position * half;
  if (!rope_.interleaved) {
    ops.rope_half(x, c, s, half, y);
    return;
  }
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1];
    y[2 * i] = a * c[i] - b * s[i];
    y[2 * i + 1] = b * c[i] + a * s[i];
  }
}

AttentionRunner::AttentionRunner(const kernel::Kernels& kernels, ThreadPool& pool)
    : kernels_(kernels), pool_(pool), scratch_(static_cast<size_t>(pool.threads())) {}
AttentionRunner::~AttentionRunner() = default;

void AttentionRunner::run(std::span<const AttentionCall> calls) {
  write_keys(calls);
  if (calls.front().cache->closes()) close_blocks(calls);
  const spec::Attention& a = *calls.front().attention;
  const int64_t group = a.heads / a.kv_heads;
  tasks_.clear();
  double work = 0;
  int64_t partials = 0;
  const bool bf16 = calls.front().cache->format().open == KvType::bf16;
  const int64_t step = std::max<int64_t>(1, (bf16 ? kRowsWantedBf16 : kRowsWanted) / group);
  for (const AttentionCall& call : calls) {
    work += static_cast<double>(call.tokens) * static_cast<double>(call.position + call.tokens) *
            static_cast<double>(a.heads * a.head_dim);
    const int64_t last = call.position / kKvBlock,
                  first = a.window > 0
                              ? std::max<int64_t>(0, call.position - a.window + 1) / kKvBlock
                              : 0;
    const bool split = splits(call);
    for (int64_t head = 0; head < a.kv_heads; ++head) {
      if (split) {
        for (int64_t block = first; block <= last; ++block, partials += group)
          tasks_.push_back({&call, head, 0, 1, block, partials * (a.head_dim + 2)});
      } else {
        for (int64_t t = 0; t < call.tokens;) {
          int64_t end = std::min(call.tokens, t + step);
          if (call.cache->closes())  // queries of one block see the same blocks closed
            end = std::min(end, ((call.position + t) / kKvBlock + 1) * kKvBlock - call.position);
          tasks_.push_back({&call, head, t, end});
          t = end;
        }
      }
    }
  }
  partial_.resize(static_cast<size_t>(partials * (a.head_dim + 2)));
  if (work < kWorthWaking || pool_.threads() == 1) {
    for (const Task& task : tasks_) attend(task, scratch_[0]);
  } else {
    run_tasks();
  }
  if (partials > 0) merge_split();
}

// One new token and many keys: every block of every head is a task of its own, so that a long
// sequence keeps all threads busy. Decode of short ones has a task for each head of each.
bool AttentionRunner::splits(const AttentionCall& call) const {
  return call.tokens == 1 && call.attention->causal && call.position >= kKvBlock &&
         pool_.threads() > 1;
}

void AttentionRunner::write_keys(std::span<const AttentionCall> calls) {
  const spec::Attention& a = *calls.front().attention;
  const kernel::VectorOps& ops = *kernels_.vector;
  const auto write = [&](const AttentionCall& call, int64_t head, int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      float* k = call.k.at(t, head);
      if (call.rope != nullptr) call.rope->rotate(k, call.position + t, ops, k);
      call.cache->write(call.layer, head, call.position + t, k, call.v.at(t, head), kernels_);
    }
    call.cache->clear_behind(call.layer, head, call.position + end);
  };
  // absolute positions, so that no two workers write one line of keys
  constexpr int64_t kChunk = 64;
  tasks_.clear();
  int64_t tokens = 0;
  for (const AttentionCall& call : calls) {
    tokens += call.tokens;
    for (int64_t head = 0; head < a.kv_heads; ++head) {
      for (int64_t t = 0; t < call.tokens;) {
        const int64_t end =
            std::min(call.tokens, (call.position + t) / kChunk * kChunk + kChunk - call.position);
        tasks_.push_back({&call, head, t, end});
        t = end;
      }
    }
  }
  if (tokens * a.kv_heads < kChunk || pool_.threads() == 1) {
    for (const Task& t : tasks_) write(*t.call, t.head, t.begin, t.end);
  } else {
    pool_.each(static_cast<int64_t>(tasks_.size()), [&](int64_t i) {
      const Task& t = tasks_[static_cast<size_t>(i)];
      write(*t.call, t.head, t.begin, t.end);
    });
  }
}

// Blocks whose last token was just written.
void AttentionRunner::close_blocks(std::span<const AttentionCall> calls) {
  tasks_.clear();
  for (const AttentionCall& call : calls)
    for (int64_t block = call.position / kKvBlock;
         (block + 1) * kKvBlock <= call.position + call.tokens; ++block)
      for (int64_t head = 0; head < call.attention->kv_heads; ++head)
        tasks_.push_back({&call, head, 0, 0, block});
  if (tasks_.empty()) return;
  pool_.each(std::ssize(tasks_), [&](int64_t i) {
    const Task& t = tasks_[static_cast<size_t>(i)];
    t.call->cache->close(t.call->layer, t.head, t.block, kernels_);
  });
}

void AttentionRunner::attend(const Task& task, Scratch& s) {
  const AttentionCall& call = *task.call;
  const spec::Attention& a = *call.attention;
  const kernel::VectorOps& ops = *kernels_.vector;
  const int64_t group = a.heads / a.kv_heads, dim = a.head_dim,
                rows = (task.end - task.begin) * group;
  if (a.bias == spec::Attention::Bias::alibi && s.slopes.size() != static_cast<size_t>(a.heads))
    s.slopes = spec::alibi_slopes(a.heads);
  if (call.cache->format().open == KvType::bf16) return attend_bf16(task, s);
  s.q.resize(static_cast<size_t>(rows * dim));
  s.scores.resize(static_cast<size_t>(rows * kKvBlock));
  s.block_out.resize(static_cast<size_t>(rows * dim));
  if (rows > s.settled_rows) {  // once for all lengths that a block can have
    kernel::prepare(s.weights, kernels_, plain(kKvBlock, kKvBlock), s.scores.data(), rows,
                    kKvBlock);
    s.settled_rows = rows;
  }
  s.out.assign(static_cast<size_t>(rows * dim), 0.0f);
  s.block_m.resize(static_cast<size_t>(rows));
  s.block_l.resize(static_cast<size_t>(rows));
  s.m.assign(static_cast<size_t>(rows), kMinusInfinity);
  s.l.assign(static_cast<size_t>(rows), 0.0f);

  for (int64_t r = 0; r < rows; ++r) {
    const int64_t t = task.begin + r / group, head = task.head * group + r % group;
    float* q = s.q.data() + r * dim;
    std::copy_n(call.q.at(t, head), dim, q);
    if (call.rope != nullptr) call.rope->rotate(q, call.position + t, ops, q);
    ops.scale(q, static_cast<float>(a.scale), dim, q);
  }
  kernel::prepare(s.queries, kernels_, plain(dim, call.cache->padded(dim)), s.q.data(), rows, dim);

  // keys [0, end)
  const int64_t end = a.causal ? call.position + task.end : call.position + call.tokens;
  const int64_t start =
      a.window > 0 ? std::max<int64_t>(0, call.position + task.begin - a.window + 1) : 0;
  const int64_t first = task.block >= 0 ? task.block : start / kKvBlock;
  const int64_t last = task.block >= 0 ? task.block : (end - 1) / kKvBlock;
  const int64_t own = (call.position + task.begin) / kKvBlock;
  for (int64_t block = first; block <= last; ++block) {
    const int64_t n = std::min(kKvBlock, end - block * kKvBlock);
    const bool closed = call.cache->closes() && block < own;
    if (closed)
      score_closed(task, s, block, rows);
    else
      product(kernels_, call.cache->keys(call.layer, task.head, block, n), s.queries,
              s.scores.data(), n);
    for (int64_t r = 0; r < rows; ++r) {
      const auto [m, l] =
          weigh(call, s, task.head * group + r % group, call.position + task.begin + r / group,
                block, n, s.scores.data() + r * n);
      s.block_m[static_cast<size_t>(r)] = m;
      s.block_l[static_cast<size_t>(r)] = l;
    }
    if (closed) {
      average_closed(task, s, block, rows);
    } else {
      kernel::prepare(s.weights, kernels_, plain(n, call.cache->padded(n)), s.scores.data(), rows,
                      n);
      product(kernels_, call.cache->values(call.layer, task.head, block, n), s.weights,
              s.block_out.data(), dim);
    }
    if (task.block >= 0) {
      const RowResults to = split_rows(task, 0);
      std::copy_n(s.block_m.data(), rows, to.m);
      std::copy_n(s.block_l.data(), rows, to.l);
      std::copy_n(s.block_out.data(), rows * dim, to.o);
    } else {
      merge_rows(ops, rows, dim, {s.block_m.data(), s.block_l.data(), s.block_out.data(), dim},
                 {s.m.data(), s.l.data(), s.out.data(), dim});
    }
  }
  if (task.block >= 0) return;
  for (int64_t r = 0; r < rows; ++r)
    finish(ops, s.out.data() + r * dim, s.l[static_cast<size_t>(r)], dim,
           call.out.at(task.begin + r / group, task.head * group + r % group));
}

// Which of the `n` keys from `base` on one query may look at, [low, high); their scores get what
// the model adds to them, -infinity where a key is padding.
std::pair<int64_t, int64_t> AttentionRunner::see(const AttentionCall& call, const Scratch& s,
                                                 int64_t head, int64_t position, int64_t base,
                                                 int64_t n, float* x) const {
  const spec::Attention& a = *call.attention;
  const kernel::VectorOps& ops = *kernels_.vector;
  const int64_t low = a.window > 0 ? std::clamp<int64_t>(position - a.window + 1 - base, 0, n) : 0;
  const int64_t high = a.causal ? std::clamp<int64_t>(position + 1 - base, 0, n) : n;
  if (a.softcap != 0 && low < high) {
    const auto cap = static_cast<float>(a.softcap);
    const int64_t count = high - low;
    ops.scale(x + low, 1.0f / cap, count, x + low);
    ops.tanh(x + low, count, x + low);
    ops.scale(x + low, cap, count, x + low);
  }
  if (a.bias == spec::Attention::Bias::alibi) {
    const auto slope = static_cast<float>(s.slopes[static_cast<size_t>(head)]);
    for (int64_t j = low; j < high; ++j) x[j] += slope * static_cast<float>(base + j - position);
  }
  if (call.key_visible != nullptr)
    for (int64_t j = low; j < high; ++j)
      if (call.key_visible[base + j] == 0) x[j] = kMinusInfinity;
  return {low, high};
}

// Scores of one query against the `n` keys of a block -> exp(score - m), zero where the query may
// not look; returns (m, sum).
std::pair<float, float> AttentionRunner::weigh(const AttentionCall& call, const Scratch& s,
                                               int64_t head, int64_t position, int64_t block,
                                               int64_t n, float* x) const {
  const kernel::VectorOps& ops = *kernels_.vector;
  const auto [low, high] = see(call, s, head, position, block * kKvBlock, n, x);
  const float m = low < high ? ops.max(x + low, high - low) : kMinusInfinity;
  if (m == kMinusInfinity) {
    std::fill_n(x, n, 0.0f);
    return {m, 0.0f};
  }
  std::fill_n(x, low, 0.0f);
  const float l = ops.exp_sum(x + low, high - low, 1.0f, m, x + low);
  std::fill(x + high, x + n, 0.0f);
  return {m, l};
}

// Where a task of one block puts the results of its rows from `row` on.
RowResults AttentionRunner::split_rows(const Task& task, int64_t row) {
  const spec::Attention& a = *task.call->attention;
  const int64_t group = a.heads / a.kv_heads, dim = a.head_dim;
  float* to = partial_.data() + task.partial;
  return {to + row, to + group + row, to + 2 * group + row * dim, dim};
}

// Adds up the tasks of single blocks: those of one head follow each other, by position.
void AttentionRunner::merge_split() {
  const kernel::VectorOps& ops = *kernels_.vector;
  Scratch& s = scratch_[0];  // whether or not worker 0 got a task that sized it
  for (size_t i = 0; i < tasks_.size();) {
    const Task& first = tasks_[i];
    if (first.block < 0) {
      ++i;
      continue;
    }
    const AttentionCall& call = *first.call;
    const spec::Attention& a = *call.attention;
    const int64_t group = a.heads / a.kv_heads, dim = a.head_dim;
    size_t end = i;
    while (end < tasks_.size() && tasks_[end].call == &call && tasks_[end].head == first.head)
      ++end;
    const auto rows = static_cast<size_t>(group);
    s.out.assign(std::max(s.out.size(), rows * static_cast<size_t>(dim)), 0.0f);
    s.m.assign(std::max(s.m.size(), rows), kMinusInfinity);
    s.l.assign(std::max(s.l.size(), rows), 0.0f);
    for (size_t t = i; t < end; ++t) {
      merge_rows(ops, group, dim, split_rows(tasks_[t], 0),
                 {s.m.data(), s.l.data(), s.out.data(), dim});
    }
    for (int64_t row = 0; row < group; ++row)
      finish(ops, s.out.data() + row * dim, s.l[static_cast<size_t>(row)], dim,
             call.out.at(0, first.head * group + row));
    i = end;
  }
}

void AttentionRunner::run_tasks() {
  std::atomic<size_t> next{0};  // any worker may do any task: its result is its own
  pool_.run([&](int64_t worker, int64_t) {
    for (size_t i = next.fetch_add(1); i < tasks_.size(); i = next.fetch_add(1))
      attend(tasks_[i], scratch_[static_cast<size_t>(worker)]);
  });
}

}  // namespace halftone::runtime
