// Tokenizers from bare vocabulary files: vocab.json + merges.txt, *.tiktoken, vocab.txt.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/limits.h"
#include "halftone/text/tokenizer.h"

namespace halftone::text {

// Byte-level BPE. `pre` is a name of pre_tokenizers.h: the files do not say it. Tokens of the
// configuration become special; a vocabulary with <s>, </s> and <mask> is read the RoBERTa way
// unless the configuration says how to begin and end.
Tokenizer tokenizer_from_bpe_files(std::string_view vocab_json, std::string_view merges_txt,
                                   std::string_view pre, const std::string& source,
                                   TokenizerConfig config, const Limits& limits);

// Lines "base64 rank"; the special tokens of the known files (Qwen, Llama 3, cl100k, o200k) are
// added by the number of ranks, those of the configuration by id. `pre` as above, "" picks by the
// number of ranks.
Tokenizer tokenizer_from_tiktoken(std::string_view text, std::string_view pre,
                                  const std::string& source, TokenizerConfig config,
                                  const Limits& limits);
bool looks_like_tiktoken(std::string_view text);

// BERT's WordPiece: one token a line; words by id. Lower case unless the configuration says
// otherwise or the vocabulary is cased.
Tokenizer tokenizer_from_vocab_txt(std::string_view text, const std::string& source,
                                   TokenizerConfig config, const Limits& limits);
Tokenizer tokenizer_from_word_pieces(const std::vector<std::string>& words,
                                     const std::string& source, TokenizerConfig config,
                                     const Limits& limits);

}  // namespace halftone::text
