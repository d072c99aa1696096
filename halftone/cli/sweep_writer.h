// The texts of a sweep, by one model: many at once, or one after the other to time them.
//
// Bare top-k sampling: of the logits the k largest stay (and what ties with the k-th), the rest are
// dropped, softmax(logits / temperature), a draw. No template, no penalty, no top_p. top_k 1 is the
// largest logit, the lowest id among equals.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/cli/model_text.h"
#include "halftone/cli/prompt_file.h"
#include "halftone/eval/sweep.h"
#include "halftone/runtime/generate.h"

namespace halftone::cli {

struct SweepTokens {
  std::vector<int32_t> ids;  // the new ones
  runtime::Stop stop = runtime::Stop::length;
  double seconds = 0;
};

class SweepWriter {
 public:
  // FileError or InputError naming a prompt's line when it has no tokens or does not fit the model.
  SweepWriter(ModelWithText model, const std::string& name, const PromptFile& prompts,
              const eval::SweepGrid& grid, bool ignore_eos, const Context& context);

  using Take = std::function<void(int64_t index, const SweepTokens& tokens)>;
  // As many as `batch` together. A sample's `seconds` is its share of each pass over the weights
  // that brought it a token, so that the shares add up to the time of all.
  void together(std::span<const int64_t> points, int64_t batch, uint64_t cache_bytes,
                const Take& take) const;
  // `seconds`: from the prompt to the last token, nothing else running.
  void one_by_one(std::span<const int64_t> points, const Take& take) const;

  // What a line of the file says: text, tokens, stop, statistics; clamped_to where the context
  // leaves no room for all; seconds and tok_s, the only figures of a clock.
  Json result(int64_t index, const SweepTokens& tokens) const;

  const runtime::Model& model() const { return *model_.model.model; }
  const LoadedModel& loaded() const { return model_.model; }

 private:
  runtime::GenerateOptions options(int64_t index) const;
  const std::vector<int32_t>& prompt(int64_t index) const;
  int64_t room(int64_t index) const;  // new tokens that the context allows

  ModelWithText model_;
  const eval::SweepGrid& grid_;
  const Context& context_;
  std::vector<std::vector<int32_t>> prompts_;  // ids
  std::vector<std::vector<std::string>> prompt_words_;
  std::vector<int32_t> stop_ids_;
  eval::WordSet stop_words_;
};

// Ids of each prompt: FileError or InputError naming its line when it has none or does not fit.
std::vector<std::vector<int32_t>> sweep_prompts(const text::Tokenizer& tokenizer,
                                                const std::string& model, int64_t model_context,
                                                const PromptFile& prompts);

}  // namespace halftone::cli
