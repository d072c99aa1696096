// The text side of a model for the commands: its tokenizer and chat template, wherever they lie.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/cli/model_options.h"
#include "halftone/spec/checkpoint.h"
#include "halftone/text/chat_template.h"
#include "halftone/text/tokenizer.h"

namespace halftone::cli {

struct ModelText {
  text::Tokenizer tokenizer;
  std::optional<text::ChatTemplate> chat;

  // Ids of a conversation, ready for the model's answer.
  std::vector<int32_t> conversation(const Json& messages) const;
};

// Throws E_MISMATCH when token ids do not fit the model's embedding.
ModelText open_text(const spec::Checkpoint& checkpoint, const Context& context);

// A model with its text, read side by side: neither needs the other until the first prompt.
struct ModelWithText {
  LoadedModel model;
  ModelText text;
};
ModelWithText load_with_text(const std::string& name, const ModelOptions& options,
                             const Context& context);

// Name and contents of the files that a Hugging Face folder needs for text, made from a tokenizer
// that came another way (GGUF).
std::vector<std::pair<std::string, std::string>> text_files(const spec::Checkpoint& checkpoint,
                                                            const ModelText& text);

}  // namespace halftone::cli
