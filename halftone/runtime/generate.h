// The token loop: prompt in, tokens out one by one, with the figures that users ask for.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "halftone/runtime/sampler.h"
#include "halftone/runtime/session.h"
#include "halftone/runtime/speculate.h"

namespace halftone::runtime {

struct GenerateOptions {
  int64_t max_new_tokens = 128;  // fewer where the session is full before
  SamplerOptions sampler;
  std::vector<int32_t> stop_ids;  // the token that stops is not handed out
  // generate() only: proposes tokens that the model verifies several at a time (speculate.h says
  // what that changes: nothing but the speed). Not owned; null: one token after the other.
  Drafter* drafter = nullptr;
  DraftOptions draft;
};

enum class Stop : uint8_t { stop_id, length, full, callback };
std::string_view stop_name(Stop stop);  // "stop", "length", "context full", "interrupted"

struct GenerateResult {
  std::vector<int32_t> tokens;  // the new ones
  Stop reason = Stop::length;
  int64_t prompt_tokens = 0;
  double prefill_s = 0;  // prompt until its last logits
  double decode_s = 0;   // from there to the end
  int64_t decoded = 0;   // tokens that decode_s brought, the one that stopped included
  int64_t steps = 0;     // passes over the weights in decode_s: `decoded` without drafts
  int64_t drafted = 0, accepted = 0;
  double prefill_tok_s() const {
    return prefill_s > 0 ? static_cast<double>(prompt_tokens) / prefill_s : 0;
  }
  double decode_tok_s() const { return decode_s > 0 ? static_cast<double>(decoded) / decode_s : 0; }
  double tokens_a_step() const {
    return steps > 0 ? static_cast<double>(decoded) / static_cast<double>(steps) : 0;
  }
  double accepted_share() const {
    return drafted > 0 ? static_cast<double>(accepted) / static_cast<double>(drafted) : 0;
  }
};

// Continues `session` (what it holds already counts as seen by the sampler only if it is in
// `history`). `on_token` gets each new token and returns false to stop. InputError when the prompt
// is empty or does not fit.
GenerateResult generate(Session& session, std::span<const int32_t> prompt,
                        const GenerateOptions& options,
                        const std::function<bool(int32_t)>& on_token = {},
                        std::span<const int32_t> history = {});

// What loops over tokens share. pick_token: the sampler's choice for new token `step`; its
// NumericError names the model.
int32_t pick_token(Sampler& sampler, const Model& model, std::span<const float> logits,
                   std::span<const int32_t> seen, int64_t step);
bool stops(const GenerateOptions& options, int32_t id);

// `samples` texts of `length` tokens, `first` included: sample i is what generate() gives after
// `first` with random stream i (sampler.stream is ignored), however many go together. They run as
// one batch (batch.h) of at most 32, with a quarter of a GB for keys and values. Stage "sample text" in context.progress; E_INTERRUPTED when asked to stop.
std::vector<std::vector<int32_t>> sample_texts(const std::shared_ptr<const Model>& model,
                                               int32_t first, int64_t samples, int64_t length,
                                               const SamplerOptions& sampler,
                                               const Context& context);

}  // namespace halftone::runtime
