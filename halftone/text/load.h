// Finds the tokenizer and the chat template in a model folder.
//
// Sources of a tokenizer, best first: tokenizer.json; vocab.json + merges.txt; tokenizer.model or
// another *.model (SentencePiece); *.tiktoken; vocab.txt. tokenizer_config.json,
// special_tokens_map.json, added_tokens.json and generation_config.json are read beside each of
// them. Sources of a template, best first: chat_template.jinja; "chat_template" of
// tokenizer_config.json (text, or a list of named ones); chat_template.json.
//
// Errors: FileError{E_MISSING} naming the folder and what was looked for; else those of the
// readers.
#pragma once

#include <optional>
#include <string>

#include "halftone/base/context.h"
#include "halftone/text/chat_template.h"
#include "halftone/text/tokenizer.h"

namespace halftone::text {

// `path`: a model folder, one of the files above, or a .gguf file.
Tokenizer load_tokenizer(const Context& context, const std::string& path);

// Empty when the folder has none. `name` picks from a list of named templates; "default" is what
// chat uses, and a list without it gives its only member.
std::optional<ChatTemplate> load_chat_template(const Context& context, const std::string& folder,
                                               const std::string& name = "default");

// What the files beside a tokenizer say; absent files say nothing.
TokenizerConfig load_tokenizer_config(const Context& context, const std::string& folder);

}  // namespace halftone::text
