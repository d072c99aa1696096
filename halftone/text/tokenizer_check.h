// Everything that must be true of a tokenizer.json before the tokenizers crate may see it.
//
// The crate panics, wraps or silently renumbers on files that are merely odd, so each fact is
// checked here: kinds are known, ids lie in range and are unique, merges speak of known tokens,
// patterns are harmless, texts cannot explode. The result is the part of the file that the rest of
// this folder needs: tokens by id, and how much a text may grow.
//
// Errors: FileError naming `path` (E_MISSING, E_TYPE, E_VALUE, E_LIMIT, E_DUP, E_MISMATCH);
// UnsupportedError for a kind of normalizer, pre-tokenizer, model, post-processor or decoder that
// is not in the tables: never ignored.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halftone/base/json.h"
#include "halftone/base/limits.h"
#include "halftone/text/token_table.h"

namespace halftone::text {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;
};

struct TokenizerFacts {
  std::string model;  // "BPE", "WordPiece", "WordLevel" or "Unigram"
  TokenTable tokens;  // as written in the vocabulary
  std::vector<AddedToken> added;
  double growth = 1;           // bytes that one byte of input may become before the model sees it
  bool byte_level = false;     // tokens are spelled in the byte-level alphabet
  bool byte_fallback = false;  // tokens <0x00>..<0xFF> stand for bytes
  bool metaspace = false;      // U+2581 stands for a space
  std::string word_prefix;     // WordPiece continuation mark ("##"), else ""
  std::string unk_token;       // of the model; may be ""
};

TokenizerFacts check_tokenizer(const Json& root, const std::string& path, const Limits& limits);
// The same for a BPE file whose vocabulary and merges have been read and checked already
// (bpe_tables.h): `root` is the rest.
TokenizerFacts check_tokenizer(const Json& root, TokenTable vocabulary, const std::string& path,
                               const Limits& limits);

}  // namespace halftone::text
