// One sequence being read and continued (or several in lockstep): KV cache, position, scratch
// memory. Not for use by two threads at once.
//
//   Session session(model, {}, context);
//   std::span<const float> logits = session.feed(prompt);   // of the last token
//   logits = session.feed(one_more);                        // decode: a feed of one token
//
// Logits are valid until the next call. Tokens go through in chunks (`chunk` rows of scratch);
// logits are computed for rows that are asked for only. The result does not depend on how tokens
// are grouped into calls or chunks.
//
// Errors: InputError for a token id outside the vocabulary or a sequence longer than max_tokens,
// before anything is computed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/tensor.h"
#include "halftone/runtime/model.h"

namespace halftone::runtime {

struct SessionOptions {
  int64_t max_tokens = 0;  // 0: the model's context
  int64_t chunk = 256;     // tokens computed together in prefill
  int64_t sequences = 1;   // more: all stand at the same position and go on by advance_each() only
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

  // Appends tokens; returns the logits [vocabulary] after the last one. `ids` must not be empty.
  std::span<const float> feed(std::span<const int32_t> ids);

  // The same in two halves, for callers that want many rows: `advance` takes at most chunk() tokens
  // and keeps their hidden states; `logits` writes rows [first, first + count) of that chunk as
  // [count, vocabulary].
  void advance(std::span<const int32_t> ids);
  void logits(int64_t first, int64_t count, std::span<float> out);

  // One more token of every sequence, sequence s in row s: the weights are read once for all of
  // them, and each gets the bits it would get alone.
  void advance_each(std::span<const int32_t> ids);

  void reset();  // back to an empty sequence; memory is kept
  int64_t position() const { return position_; }
  int64_t max_tokens() const { return max_tokens_; }
  int64_t chunk() const { return chunk_; }
  int64_t sequences() const { return sequences_; }
  const Model& model() const { return *model_; }
  uint64_t cache_bytes() const;  // KV memory taken so far
  uint64_t scratch_bytes() const;

  // Encoders: every token sees every visible one; keeps nothing.
  Encoded encode(const EncoderBatch& batch);

 private:
  struct Engine;
  void check_next(std::span<const int32_t> ids, int64_t tokens) const;
  std::shared_ptr<const Model> model_;
  std::unique_ptr<Engine> engine_;
  int64_t position_ = 0, max_tokens_ = 0, chunk_ = 0, sequences_ = 1;
  std::vector<float> last_logits_;
};

}  // namespace halftone::runtime
