// Speculative decoding: something cheap proposes the next tokens, the model verifies them in one
// pass over its weights, and the text has exactly the distribution that it has without.
//
// The model's passes cost nearly the same for one row and for a few, because the weights are read
// once. Of k proposed tokens x_1 .. x_k, drawn from q_1 .. q_k, with p_i what the sampler makes of
// the model's logits (after penalty, temperature, top-k, top-p and min-p), x_i is accepted with
// probability min(1, p_i(x_i) / q_i(x_i)); the first that is not is replaced by a draw from
// max(0, p_i - q_i) normalised, and what follows it is forgotten; when all are accepted, one more
// token is drawn from p_{k+1} (Leviathan et al. 2023, arXiv:2211.17192, algorithm 1).
//
// Where q_i is certain (a look-up, a greedy draft, top-k 1) the same rule says: draw from p_i; the
// proposal is accepted if it is what was drawn. That draw is the one that plain decoding makes, with
// the same random number, so the text is then the same token for token, whatever the seed.
//
//   auto drafter = lookup_drafter();                       // or model_drafter(small, context)
//   GenerateOptions options;
//   options.drafter = drafter.get();
//   const GenerateResult r = generate(session, prompt, options);   // r.tokens_a_step()
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/runtime/sampler.h"
#include "halftone/runtime/session.h"

namespace halftone::runtime {

// Proposed tokens, each with the distribution it was drawn from. Reused: keeps its memory.
class Draft {
 public:
  void clear() { tokens_.clear(); }
  // `from`, in order of id, holds `token`; empty: the token was certain.
  void add(int32_t token, std::span<const TokenProbability> from);
  int64_t size() const { return std::ssize(tokens_); }
  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const TokenProbability> from(size_t i) const { return from_[i]; }

 private:
  std::vector<int32_t> tokens_;
  std::vector<std::vector<TokenProbability>> from_;  // as many as there ever were tokens
};

class Drafter {
 public:
  virtual ~Drafter() = default;
  virtual std::string label() const = 0;
  virtual int64_t vocabulary() const { return 0; }  // 0: knows no tokens of its own
  // True when proposals are drawn at temperatures above 0, not certain.
  virtual bool draws() const { return false; }
  // Time of proposing one token beside one step of `model`, guessed from sizes.
  virtual double relative_cost(const Model&) const { return 0; }

  // A generation begins after `text`, with this sampler.
  virtual void begin(std::span<const int32_t> text, const SamplerOptions& sampler) = 0;
  // Adds at most `count` tokens that may follow `text` (all so far) to `out`; fewer, or none, when
  // it knows no more. `step` is the number of the first among the new tokens of the generation.
  virtual void propose(std::span<const int32_t> text, int64_t count, int64_t step, Draft& out) = 0;
  // So many of the last proposal became text.
  virtual void accepted(int64_t) {}
};

// A smaller model with the same token ids; E_MISMATCH, naming both, when generate() is given one
// with a vocabulary of another size (that the tokens are the same is for the caller to know).
std::unique_ptr<Drafter> model_drafter(std::shared_ptr<const Model> model, const Context& context);
void check_vocabulary(const Drafter& drafter, const Model& model);

// What followed the last time the text had its present ending: the longest match of at most
// `longest` and at least `shortest` tokens, the most recent of equals (prompt look-up). Good where
// an answer repeats its prompt: summaries, edits, code.
struct LookupOptions {
  int64_t longest = 16, shortest = 2;
};
std::unique_ptr<Drafter> lookup_drafter(const LookupOptions& options = {});

// ---- verification
struct Verdict {
  int32_t token = 0;  // becomes text
  bool accepted = false;
};
// Proposal `i` of `draft`, given the model's logits before it. `step` is the number of that token
// among the new ones.
Verdict verify(Sampler& sampler, std::span<const float> logits, std::span<const int32_t> seen,
               int64_t step, const Draft& draft, size_t i);
// The rule itself, for `x` drawn from q, with two random numbers in [0, 1). p and q in order of id.
Verdict verify(std::span<const TokenProbability> p, std::span<const TokenProbability> q, int32_t x,
               double u_accept, double u_draw);
// max(0, p - q), normalised, in order of id; p itself where nothing is left.
std::vector<TokenProbability> residual(std::span<const TokenProbability> p,
                                       std::span<const TokenProbability> q);

// ---- how many to draft
struct DraftOptions {
  int64_t tokens = 8;    // at most, in one step
  bool adaptive = true;  // false: always as many
};

// Chooses the number of tokens k that maximises the expected rate
//     (1 - a^(k+1)) / (1 - a) / (k d + c(k+1))
// from the share a of accepted tokens (recent ones weigh more), the time d of drafting one and the
// time c(n) of a step of n rows, as measured so far. Where no k beats k = 0 it drafts nothing, and
// tries two tokens again after 16 steps, then after 32, ... 256: a hopeless draft costs a percent.
// A try that is accepted whole is followed by the next at once.
class DraftControl {
 public:
  // `relative_cost`: of drafting a token beside a step of one row. Given: times are not looked at,
  // a row costs 8 % of a step, so that choices depend on the tokens alone and a seed fixes the text.
  DraftControl(const DraftOptions& options, std::optional<double> relative_cost);
  int64_t most() const { return options_.tokens; }
  int64_t choose();

  struct Round {
    int64_t drafted = 0, accepted = 0;
    double step_s = 0, draft_s = 0;
  };
  void record(const Round& round);

  double acceptance() const { return taken_ / tried_; }

 private:
  double step_cost(int64_t rows) const;
  DraftOptions options_;
  bool timed_;
  double draft_cost_;              // of one token; seconds, or steps
  std::vector<double> step_cost_;  // by rows, 0: not known
  double taken_ = 2, tried_ = 4;   // neither hope nor doubt, soon outweighed
  int64_t quiet_ = 0, pause_;
};

}  // namespace halftone::runtime
