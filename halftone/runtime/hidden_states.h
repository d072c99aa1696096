// Hidden states of a few texts at every cut between blocks, and logits that go on from there: of
// models that are alike up to some block, what comes before it is computed once.
//
//   HiddenStates states(reference, texts, context);             // one pass
//   ResumedLogits same(reference, states, blocks, context);     // its logits: only the head is left
//   ResumedLogits mixed(with_block_7_of_another, states, 7, context);
//
// The bits are those of RuntimeLogits of the same model: they do not depend on where computing
// starts. Takes (blocks + 1) * tokens * width * 4 bytes (SmolLM2, 1024 tokens: 73 MB).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/tensor.h"
#include "halftone/eval/logit_source.h"
#include "halftone/runtime/session.h"

namespace halftone::runtime {

class HiddenStates {
 public:
  // Runs the model over every text, each from its beginning. Progress stage "hidden", in tokens.
  // Errors: those of Session::advance, for an encoder, or a text longer than the model's context.
  HiddenStates(std::shared_ptr<const Model> model, std::vector<std::vector<int32_t>> texts,
               const Context& context);

  const std::vector<std::vector<int32_t>>& texts() const { return texts_; }
  int64_t cuts() const { return std::ssize(at_); }  // blocks + 1
  // What enters block `cut` (the last cut: what leaves the last block), the texts one after the
  // other: [tokens of all texts, width].
  const Matrix<float>& at(int64_t cut) const { return at_[static_cast<size_t>(cut)]; }
  // Those of tokens [first, first + count) of a text.
  std::span<const float> rows(int64_t cut, size_t text, int64_t first, int64_t count) const;

 private:
  std::vector<std::vector<int32_t>> texts_;
  std::vector<int64_t> first_rows_;
  std::vector<Matrix<float>> at_;
};

// What each linear of a model reads over the texts, [tokens of all texts, in], once for all that
// read the same value: block by block, then the head. Linears of the prologue are left. `states` are
// the model's own. Costs a pass and the logits of every token, and the inputs of one block are in
// memory at a time. Progress stage "inputs".
using TakeInputs =
    std::function<void(std::span<const std::string> ops, const Matrix<float>& inputs)>;
void each_linear_input(std::shared_ptr<const Model> model, const HiddenStates& states,
                       const Context& context, const TakeInputs& take);

// Logits of a model whose blocks before `block`, and whose embedding, are those that gave `states`,
// which outlive it. It takes the texts of `states` only, whole; which one is seen by its tokens, and
// another one is a bug of the caller.
class ResumedLogits final : public eval::LogitSource {
 public:
  ResumedLogits(std::shared_ptr<const Model> model, const HiddenStates& states, int64_t block,
                const Context& context);
  std::string label() const override { return session_.model().label(); }
  int64_t vocabulary() const override { return session_.model().vocabulary(); }
  int64_t context() const override { return session_.max_tokens(); }
  void begin(std::span<const int32_t> ids, int64_t first) override;
  int64_t next(std::span<float> rows) override;

 private:
  const HiddenStates& states_;
  int64_t block_;
  Session session_;
  size_t text_ = 0;
  int64_t chunk_begin_ = 0;  // position of the first row that the session holds
  int64_t given_ = 0;        // rows before this position are done
};

}  // namespace halftone::runtime
