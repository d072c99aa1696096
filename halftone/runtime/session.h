// Sequences being read and continued, each at a position of its own: KV caches, positions, scratch
// memory. Not for use by two threads at once.
//
//   Session session(model, {}, context);
//   std::span<const float> logits = session.feed(prompt);   // of the last token
//   logits = session.feed(one_more);                        // decode: a feed of one token
//   session.truncate(session.position() - 1);               // as if that one had never been fed
//
// One step may append to several sequences, a token to some and a piece of prompt to others; the
// weights are read once for all of them:
//
//   Session many(model, {.sequences = 3}, context);
//   const std::array parts = {Append{0, prompt}, Append{2, one_token}};
//   many.advance(parts);                                    // rows: the prompt's, then one
//   many.logits(rows, out);                                 // of any rows of that step
//
// (batch.h decides who goes in which step.)
//
// Logits are valid until the next call. Tokens go through in chunks (`chunk` rows of scratch);
// logits are computed for rows that are asked for only. The result does not depend on how tokens
// are grouped into calls or chunks, nor on what other sequences do. Once sizes have settled a step
// allocates nothing; a sequence takes a block of cache every 256 tokens.
//
// A cache whose blocks are closed in codes (KvType::i8, i4, i2) can go back to any token that the
// last step wrote, and to any of the newest block. From further back it goes on at the beginning of
// a block: truncate and fork say where they end, and the tokens from there on are fed again.
//
// Errors: InputError for a token id outside the vocabulary or a sequence longer than max_tokens,
// before anything is computed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/tensor.h"
#include "halftone/runtime/model.h"

namespace halftone::runtime {

struct SessionOptions {
  int64_t max_tokens = 0;  // 0: the model's context
  int64_t chunk = 256;     // tokens computed together in prefill
  int64_t sequences = 1;
};

// What a step appends to one sequence. `ids` is not empty.
struct Append {
  int64_t sequence = 0;
  std::span<const int32_t> ids;
};

// Padded sequences for an encoder, row-major [sequences, tokens].
struct EncoderBatch {
  int64_t sequences = 0, tokens = 0;
  std::span<const int32_t> ids;
  std::span<const int32_t> token_types;  // empty: all 0
  std::span<const uint8_t> visible;      // 0: padding; empty: no padding
};
struct Encoded {
  Matrix<float> hidden;  // [sequences * tokens, width]
  Matrix<float> pooled;  // [sequences, width], or [0, 0] where the model has no pooler
};

class Session {
 public:
  // Needs context.pool; the session keeps context's pool and stop flag.
  Session(std::shared_ptr<const Model> model, const SessionOptions& options,
          const Context& context);
  ~Session();

  // Appends tokens to sequence 0; returns the logits [vocabulary] after the last one. `ids` must
  // not be empty.
  std::span<const float> feed(std::span<const int32_t> ids);

  // Throws what feed would throw for a prompt at the start of a sequence; InputError when it is
  // empty.
  void check_prompt(std::span<const int32_t> ids) const;

  // The same in two halves, for callers that want many rows: `advance` takes at most chunk() tokens
  // and keeps their hidden states; `logits` writes rows [first, first + count) of that step as
  // [count, vocabulary].
  void advance(std::span<const int32_t> ids);
  void logits(int64_t first, int64_t count, std::span<float> out);
  void logits(std::span<const int64_t> rows, std::span<float> out);

  // One step of several sequences, each at most once; rows follow the parts in their order. At most
  // max(chunk(), sequences()) rows. Nothing is computed if one part is refused.
  void advance(std::span<const Append> parts);

  // The hidden states of every step from now on, [rows, width] with rows as in the step: what
  // enters each block that runs, and with block = the number of blocks what leaves the last one.
  // Valid during the call. An empty function ends it.
  using Observer = std::function<void(int64_t block, const float* rows, int64_t ld)>;
  void observe(Observer observer);
  // The same for what linears read, [rows, width] before any gather, scale or disturbance: called
  // once for all that read one value, by name. Rows are those of the step; of the head, which runs in
  // logits() only, those that are asked for, 64 at a time at most. Valid during the call. An empty
  // function ends it.
  struct LinearInput {
    std::span<const std::string> ops;
    const float* rows = nullptr;
    int64_t count = 0, width = 0, ld = 0;
  };
  using InputObserver = std::function<void(const LinearInput&)>;
  void observe_inputs(InputObserver observer);
  // Changes a copy of what the linears of the blocks read, before they read it, in every step from
  // now on. `input` is the number of the value among all that linears of the model read, in the order
  // of their use (linears that read one value count once): the same wherever a step begins
  // (advance_from). Rows are [positions.size(), width] at these positions of their sequences. The
  // head's input is left. For measuring how robust a model is. An empty function ends it.
  using Disturber = std::function<void(int64_t input, std::span<const int64_t> positions,
                                       float* rows, int64_t width)>;
  void disturb(Disturber disturber);
  // As advance(ids), but the blocks before `block` are done and gave `hidden` [ids.size(), width]:
  // an observer's rows of a model with the same blocks up to there. block = the number of blocks
  // leaves nothing but logits to compute. Mixing this with advance in one sequence is a bug: its
  // first blocks have no keys and values then. With `end` the blocks from there on are left out,
  // and logits mean nothing.
  void advance_from(int64_t block, std::span<const int32_t> ids, std::span<const float> hidden,
                    std::optional<int64_t> end = {});

  // Forgets what a sequence holds from `position` on; memory is kept. Returns the position where it
  // is then: that one, or less (above).
  int64_t truncate(int64_t position, int64_t sequence = 0);
  // Sequence `to` becomes the first `position` tokens of `from`; what it held is forgotten. The two
  // share whole blocks of cache until one of them is truncated into a block and writes there.
  // Returns the position of `to`, as truncate does.
  int64_t fork(int64_t from, int64_t position, int64_t to);
  void reset();  // all sequences back to empty; memory is kept
  // Empties a sequence and gives its cache's memory back.
  void release(int64_t sequence);

  int64_t position(int64_t sequence = 0) const { return positions_[static_cast<size_t>(sequence)]; }
  int64_t max_tokens() const { return max_tokens_; }
  int64_t chunk() const { return chunk_; }
  int64_t sequences() const { return sequences_; }
  const Model& model() const { return *model_; }
  uint64_t cache_bytes() const;  // KV memory taken so far
  uint64_t cache_bytes(int64_t sequence) const;
  uint64_t cache_bytes_for(int64_t tokens) const;  // that a sequence of so many takes at most
  uint64_t scratch_bytes() const;

  // Encoders: every token sees every visible one; keeps nothing.
  Encoded encode(const EncoderBatch& batch);

 private:
  struct Engine;
  void step(std::span<const Append> parts, int64_t first_block, std::span<const float> hidden,
            int64_t end_block);
  void check_next(std::span<const int32_t> ids, int64_t first) const;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Engine> engine_;
  int64_t max_tokens_ = 0, chunk_ = 0, sequences_ = 1;
  std::vector<int64_t> positions_;  // by sequence
  std::vector<float> last_logits_;
};

}  // namespace halftone::runtime
