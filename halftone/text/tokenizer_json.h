// The pieces from which a tokenizer.json is put together when a model brings its vocabulary in
// another form.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "halftone/base/json.h"

namespace halftone::text {

struct TokenName {
  std::string text;
  int32_t id = 0;
};

// Collects a whole tokenizer.json; `take()` gives it.
struct TokenizerJson {
  Json added = Json::array();
  Json normalizer = nullptr, pre_tokenizer = nullptr, post_processor = nullptr, decoder = nullptr;
  Json model = Json::object();

  void add_token(int32_t id, std::string_view content, bool special, bool lstrip = false);
  Json take();
};

// Appends to an object whose keys are known to be new: ordered objects search linearly on
// insertion, vocabularies are large.
void append(Json& object, std::string key, Json value);

// {"type": "BPE", ...} without vocabulary and merges.
Json bpe_model(const std::optional<std::string>& unk, bool byte_fallback, bool ignore_merges);

Json byte_level_decoder();

// [bos] $A [eos], and for pairs [bos] $A [eos] [bos] $B [eos]: what transformers installs for
// add_bos_token and add_eos_token.
Json bos_eos_processor(const std::optional<TokenName>& bos, const std::optional<TokenName>& eos);
// [CLS] $A [SEP] $B [SEP] with token types, as BERT.
Json bert_processor(const TokenName& cls, const TokenName& sep);
// <s> $A </s> </s> $B </s>, as RoBERTa.
Json roberta_processor(const TokenName& cls, const TokenName& sep);

}  // namespace halftone::text
