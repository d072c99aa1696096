// softmax(scale * q k^T + bias, masked) v over a KvCache, by an online softmax over blocks of 256
// tokens: no [T, T] buffer, and a query's result does not depend on how many others are computed
// with it, on tokens after it, or on threads.
//
// Each block of keys gives, per query, (m, l, o) = (its own maximum, sum of exp(s - m), sum of
// exp(s - m) v); blocks are merged in order (Milakov, Gimelshein 2018, arXiv:1805.02867):
//     M = max(m, m');  l = l exp(m - M) + l' exp(m' - M);  o likewise
// Blocks that a cache has closed (kv_cache.h) are multiplied as the low-bit weights they are: scales
// go into queries and into exp(s - m), offsets are added behind (attention_closed.cc).
// A bf16 cache makes both products bf16: queries and exp(s - m) are rounded, too
// (attention_bf16.cc).
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "halftone/base/tensor.h"
#include "halftone/base/threads.h"
#include "halftone/kernel/activations.h"
#include "halftone/kernel/kernels.h"
#include "halftone/runtime/kv_cache.h"

namespace halftone::runtime {

// cos and sin of the rotation angles, [position][dims / 2], grown as positions come. Angles in
// double, rounded once.
class RopeTable {
 public:
  explicit RopeTable(spec::Rope rope) : rope_(std::move(rope)) {}
  void reserve(int64_t positions);
  // y = x turned, the dims that turn; y may be x.
  void rotate(const float* x, int64_t position, const kernel::VectorOps& ops,
              float* y) const noexcept;
  const spec::Rope& rope() const { return rope_; }

 private:
  spec::Rope rope_;
  int64_t positions_ = 0;
  std::vector<float> cos_, sin_;
};

// Rows of a buffer: row r starts at data + r * stride; head h at offset + h * head_stride.
struct HeadRows {
  float* data = nullptr;
  int64_t stride = 0, offset = 0, head_stride = 0;
  float* at(int64_t row, int64_t head) const {
    return data + row * stride + offset + head * head_stride;
  }
};

// One sequence: queries and new keys of positions [position, position + tokens).
struct AttentionCall {
  const spec::Attention* attention = nullptr;
  const RopeTable* rope = nullptr;
  HeadRows q, k, v, out;
  int64_t position = 0, tokens = 0, layer = 0;
  const uint8_t* key_visible = nullptr;  // [position + tokens], 0: padding; null: all are seen
  KvCache* cache = nullptr;              // reserved for position + tokens
};

struct RowResults;  // attention_steps.h

class AttentionRunner {
 public:
  AttentionRunner(const kernel::Kernels& kernels, ThreadPool& pool);
  ~AttentionRunner();
  // Writes the keys and values of all calls into their caches, then attends. The calls share layer
  // and shapes.
  void run(std::span<const AttentionCall> calls);

 private:
  struct Scratch;
  struct Task {
    const AttentionCall* call;
    int64_t head, begin, end;  // kv head; tokens of the call
    int64_t block = -1;        // -1: all blocks
    int64_t partial = -1;      // of one block: where its rows of `partial_` begin
  };
  void write_keys(std::span<const AttentionCall> calls);
  void close_blocks(std::span<const AttentionCall> calls);
  void attend(const Task& task, Scratch& scratch);
  void multiply_closed(const ClosedPart& part, const float* x, int64_t rows, Scratch& s, float* out,
                       int64_t stride) const;
  void score_closed(const Task& task, Scratch& s, int64_t block, int64_t rows) const;
  void average_closed(const Task& task, Scratch& s, int64_t block, int64_t rows) const;
  struct Panel;
  void attend_bf16(const Task& task, Scratch& scratch);
  void score(const Task& task, const Panel& panel, Scratch& s, const uint16_t* q, int64_t block,
             int64_t at, int64_t stop, bool first, float* scores, int64_t ld) const;
  void run_tasks();
  std::pair<int64_t, int64_t> see(const AttentionCall& call, const Scratch& s, int64_t head,
                                  int64_t position, int64_t base, int64_t n, float* x) const;
  std::pair<float, float> weigh(const AttentionCall& call, const Scratch& s, int64_t head,
                                int64_t position, int64_t block, int64_t n, float* x) const;
  bool splits(const AttentionCall& call) const;
  RowResults split_rows(const Task& task, int64_t row);
  void merge_split();

  const kernel::Kernels& kernels_;
  ThreadPool& pool_;
  std::vector<Scratch> scratch_;  // one for each worker
  std::vector<Task> tasks_;
  std::vector<float> partial_;  // tasks of one block: for each m [group], l [group], o [group][dim]
};

}  // namespace halftone::runtime
