// SentencePiece vocabularies: the .model file (a protobuf) and the same facts from GGUF metadata,
// rewritten as tokenizer.json. Kudo & Richardson 2018, arXiv:1808.06226; message numbers from
// sentencepiece_model.proto.
//
// BPE: a file lists pieces with scores, not merges. The engine merges the adjacent pair whose joint
// piece has the best score, so every way to cut a piece into two known pieces is one merge, ranked
// by the score of the whole. Unigram scores pass through. What is kept of the normalizer: the
// character map, extra spaces, the dummy prefix, spaces as U+2581.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/limits.h"
#include "halftone/text/tokenizer.h"

namespace halftone::text {

enum class PieceType : uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

struct Piece {
  std::string text;
  float score = 0;
  PieceType type = PieceType::normal;
};

struct SentencePieceModel {
  enum class Kind : uint8_t { unigram = 1, bpe = 2 };
  std::vector<Piece> pieces;  // the index is the id
  Kind kind = Kind::unigram;
  bool byte_fallback = false;
  bool add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
  std::string charsmap;  // bytes of the precompiled character map; empty: none
  int32_t unk = 0, bos = 1, eos = 2, pad = -1;
};

// Reads a .model file. FileError naming `path`: E_TRUNC, E_VALUE, E_LIMIT, E_UTF8; UnsupportedError
// for the word and char kinds and for whitespace as a suffix.
SentencePieceModel read_sentencepiece(std::span<const std::byte> file, const std::string& path,
                                      const Limits& limits);

// `config` wins over what the model implies (BOS of LLaMA, <sep> <cls> of XLNet, EOS of T5).
Tokenizer tokenizer_from_sentencepiece(const SentencePieceModel& model, const std::string& source,
                                       TokenizerConfig config, const Limits& limits);

}  // namespace halftone::text
