// The runtime as a source of logits for evaluation: whole chunks at prefill speed, rows handed out
// as they are asked for. Texts that begin alike share the keys and values of their beginning.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "halftone/eval/logit_source.h"
#include "halftone/runtime/session.h"

namespace halftone::runtime {

class RuntimeLogits final : public eval::LogitSource {
 public:
  RuntimeLogits(std::shared_ptr<const Model> model, const SessionOptions& options,
                const Context& context);
  std::string label() const override { return model_->label(); }
  int64_t vocabulary() const override { return model_->vocabulary(); }
  int64_t context() const override { return session_.max_tokens(); }
  void begin(std::span<const int32_t> ids, int64_t first) override;
  int64_t next(std::span<float> rows) override;
  // As Session::disturb, for `begin` and `next`; before the first text.
  void disturb(Session::Disturber disturber) { session_.disturb(std::move(disturber)); }
  // In several sequences, as many as fit a quarter of the memory that is available (16 at most);
  // they are kept for the next call.
  void each_text(std::span<const eval::WantedText> texts, const eval::TakeRows& take) override;

 private:
  std::shared_ptr<const Model> model_;
  Context run_;
  Session session_;
  std::unique_ptr<Session> many_;
  std::vector<int32_t> ids_;
  int64_t chunk_begin_ = 0;  // position of the first row that the session holds
  int64_t given_ = 0;        // rows before this position are done
};

}  // namespace halftone::runtime
