// Log-likelihoods of continuations, to the definition of lm-eval 0.4: what its HFLM.loglikelihood
// gives, from any source of logits.
//
//   tokens   trailing spaces of the context move to the continuation; whole = enc(context +
//            continuation), context = enc(context), both with the tokenizer's special tokens (none
//            when the text begins with BOS as text); the continuation is what whole has more.
//            An empty context is BOS, or else EOS.
//   fed      (context + continuation)[-(max_len + 1):][:-1]: too long a text loses its beginning
//   score    sum of log softmax at the continuation's tokens; greedy when each is the argmax
//
// A request that has no score (a continuation without tokens, one longer than the model's context)
// is skipped, with the reason; nothing is dropped without a word.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/function_ref.h"
#include "halftone/base/json.h"
#include "halftone/eval/logit_source.h"

namespace halftone::eval {

// The tokenizer as evaluation needs it.
struct TextCodec {
  std::function<std::vector<int32_t>(std::string_view text, bool add_special)> encode;
  std::optional<int32_t> prefix;     // BOS, or else EOS
  std::string prefix_text;           // what it decodes to
  std::string source = "tokenizer";  // the file it comes from, for errors

  // With the special tokens that the tokenizer adds, unless the text begins with the prefix's.
  std::vector<int32_t> operator()(std::string_view text) const;
  // The prefix. FileError{missing} with the remedy when the tokenizer has neither.
  int32_t prefix_or_throw(std::string_view what_for) const;
};

struct Request {
  std::string context, continuation;
  bool operator==(const Request&) const = default;
};

struct Score {
  double log_likelihood = 0;  // nats
  bool greedy = false;
  bool truncated = false;  // the context lost its beginning
  std::string skipped;     // why there is no score; empty otherwise
};

// Tokens of one request, ready to be fed.
struct EncodedRequest {
  std::vector<int32_t> fed, targets;  // targets are predicted at the last targets.size() positions
  bool truncated = false;
  std::string skipped;
};
// FileError{missing} when the context is empty and the tokenizer has no prefix.
EncodedRequest encode_request(const TextCodec& codec, const Request& request, int64_t max_tokens);
EncodedRequest encode_tokens(std::vector<int32_t> context, std::vector<int32_t> continuation,
                             int64_t max_tokens);

// What of a run is done already, kept where a killed run finds it again; both may be empty. Keys
// are hashes of the tokens that a value belongs to (memory_key), so a value is good for whatever
// run of the same model asks for it.
struct RunMemory {
  std::function<std::optional<Json>(uint64_t key)> find;
  std::function<void(uint64_t key, const Json& value)> keep;
};
uint64_t memory_key(std::string_view what, std::span<const int32_t> ids, int64_t first);
// What `memory` knows of `key`; else what `work` gives, which is kept.
Json remembered(const RunMemory& memory, uint64_t key, FunctionRef<Json()> work);

struct ScoreOptions {
  std::string stage;  // of progress: "piqa"
  RunMemory memory = {};
  // FILE:LINE of a request, for what its encoding throws; may be empty.
  std::function<std::string(size_t request)> where = {};
  // Texts one after the other instead of many at once: for long ones, of which all rows are wanted.
  bool one_by_one = false;
};

// Scores in the order of the requests. Encoding and log softmax use context.pool. Progress in
// requests. NumericError when a logit is not finite.
std::vector<Score> score(LogitSource& source, const TextCodec& codec,
                         std::span<const Request> requests, const Context& context,
                         const ScoreOptions& options);
std::vector<Score> score(LogitSource& source, std::span<const EncodedRequest> requests,
                         const Context& context, const ScoreOptions& options);

}  // namespace halftone::eval
