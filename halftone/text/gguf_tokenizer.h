// The tokenizer and chat template inside GGUF metadata, as a plain struct and as a Tokenizer.
//
// Kinds: "gpt2" (byte-level BPE, cut as `pre` says), "llama" (SentencePiece BPE by scores), "t5"
// (Unigram), "bert" (WordPiece). A whole tokenizer.json under tokenizer.huggingface.json wins over
// all of them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "halftone/base/limits.h"
#include "halftone/text/chat_template.h"
#include "halftone/text/tokenizer.h"

namespace halftone::files {
struct GgufFile;
}

namespace halftone::text {

struct GgufTokenizer {
  std::string model;                // tokenizer.ggml.model
  std::string pre;                  // tokenizer.ggml.pre; "" when absent
  std::vector<std::string> tokens;  // the index is the id
  std::vector<float> scores;        // empty, or as many as tokens
  // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte; empty: all normal
  std::vector<int32_t> types;
  std::vector<std::string> merges;  // "a b"
  std::optional<int64_t> bos, eos, eot, eom, unk, sep, pad, cls, mask;
  std::optional<bool> add_bos, add_eos, add_sep, add_space_prefix, remove_extra_whitespaces;
  std::string charsmap;                               // bytes
  std::map<std::string, std::string> chat_templates;  // by name, "default" for the unnamed one
  std::string huggingface_json;
};

// Copies the keys out of a file's metadata. FileError{E_TYPE, E_VALUE} naming the file for keys of
// another type.
GgufTokenizer read_gguf_tokenizer(const files::GgufFile& file);

// FileError naming `path`: E_MISSING without tokens, E_MISMATCH when counts differ, E_VALUE for an
// id past the tokens or a merge that is not two tokens; UnsupportedError for an unknown kind or
// pre-tokenizer.
Tokenizer tokenizer_from_gguf(const GgufTokenizer& gguf, const std::string& path,
                              const Limits& limits = {});
std::optional<ChatTemplate> chat_template_from_gguf(const GgufTokenizer& gguf,
                                                    const std::string& path,
                                                    const std::string& name = "default",
                                                    const Limits& limits = {});

}  // namespace halftone::text
