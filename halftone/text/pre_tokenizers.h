// How the families with byte-level vocabularies cut a text before merging, keyed by the names that
// GGUF files use
// (`tokenizer.ggml.pre`). The names were chosen by others by hashing, so this is a table, not a
// rule.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/json.h"

namespace halftone::text {

struct PreTokenizer {
  Json pre_tokenizer;          // as tokenizer.json writes it
  Json normalizer = nullptr;   // NFC for the Qwen line, else none
  bool ignore_merges = false;  // a word that is a token is taken whole
  bool add_bos = false;        // unless the file says otherwise
  bool add_sep = false;        // the RoBERTa way: <s> text </s>
};

// `name` is "smollm", "llama-bpe", "qwen2", ...; "" and "default" are the rule of files that name
// none. Throws UnsupportedError naming `path` and the nearest known name: a wrong cut gives wrong
// ids without any other sign.
PreTokenizer pre_tokenizer(std::string_view name, const std::string& path);

std::vector<std::string> pre_tokenizer_names();

}  // namespace halftone::text
