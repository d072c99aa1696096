// Picks the next token from logits. Order and meaning are those of transformers' generate():
//   1 repetition_penalty r: each token seen so far (prompt and output) once: logit / r if positive,
//     logit * r if not
//   2 temperature: logits / temperature
//   3 top_k: keep logits >= the k-th largest (ties with it stay)
//   4 top_p: of the softmax over what is left, keep the most probable tokens until their sum
//     reaches p (the one that reaches it stays)
//   5 min_p: of the softmax over what is left, keep probability >= min_p x the largest
// then draw from the softmax over the rest, in order of token id, with random number `step` of
// stream (seed, stream). temperature 0 is greedy: the largest logit after step 1, the lowest id among
// equals. (llama.cpp applies temperature last, so its top_p sees other probabilities unless the
// temperature is 1.)
// The same logits, seed and step give the same token on every machine with IEEE floats: softmax
// runs in double.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace halftone::runtime {

struct SamplerOptions {
  double temperature = 0;         // 0: greedy
  int64_t top_k = 0;              // 0: off
  double top_p = 1;               // 1: off
  double min_p = 0;               // 0: off
  double repetition_penalty = 1;  // 1: off
  uint64_t seed = 0;
  uint32_t stream = 0;  // independent draws under one seed: sample i of many takes stream i
  bool operator==(const SamplerOptions&) const = default;
};
// InputError naming the option: negative or non-finite temperature, top_k < 0, top_p outside (0,
// 1], min_p outside [0, 1), penalty <= 0.
void validate(const SamplerOptions& options);

struct TokenProbability {
  int32_t id = 0;
  double probability = 0;
  bool operator==(const TokenProbability&) const = default;
};

// The token at `u`, in [0, 1), of a distribution in order of id.
int32_t draw(std::span<const TokenProbability> distribution, double u);

// Random number `step` of a generation, [0, 1). `draw` is the one that pick() uses; drafting
// (speculate.h) has two more of its own.
enum class Purpose : uint8_t { draw, accept, draft };
double uniform(const SamplerOptions& options, Purpose purpose, uint64_t step);

class Sampler {
 public:
  explicit Sampler(SamplerOptions options);  // validates
  // logits [vocabulary]; `seen` holds the tokens so far. `step` counts draws from 0. NumericError
  // when no logit is finite.
  int32_t pick(std::span<const float> logits, std::span<const int32_t> seen, uint64_t step);
  // The distribution that pick draws from, in order of id; greedy: one token of probability 1.
  // Valid until the next call.
  std::span<const TokenProbability> distribution(std::span<const float> logits,
                                                 std::span<const int32_t> seen);
  const SamplerOptions& options() const { return options_; }

 private:
  SamplerOptions options_;
  std::vector<float> scores_, best_;  // scratch
  std::vector<uint8_t> penalised_;
  std::vector<TokenProbability> kept_;
};

}  // namespace halftone::runtime
