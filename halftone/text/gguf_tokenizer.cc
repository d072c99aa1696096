#include "halftone/text/gguf_tokenizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_set>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"
#include "halftone/text/pre_tokenizers.h"
#include "halftone/text/sentencepiece.h"
#include "halftone/text/tokenizer_json.h"
#include "halftone/text/vocabulary_files.h"

namespace halftone::text {
namespace {

// Control tokens that end a turn whatever eos_token_id says; files name only one.
constexpr std::array kEndings = {"<|eot_id|>",    "<|eom_id|>",    "<|im_end|>",      "<|end|>",
                                 "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>"};

class Rebuilder {
 public:
  Rebuilder(const GgufTokenizer& gguf, const std::string& path, const Limits& limits)
      : g_(gguf), path_(path), limits_(limits) {}

  Tokenizer run() {
    if (!g_.huggingface_json.empty()) {
      check_ids(INT32_MAX);
      return Tokenizer::from_json(g_.huggingface_json, path_ + ": tokenizer.huggingface.json",
                                  config_of({}), limits_);
    }
    if (g_.model.empty())
      throw FileError(Code::missing, path_, "has no tokenizer: tokenizer.ggml.model is absent");
    if (g_.tokens.empty())
      throw FileError(Code::missing, path_,
                      "has no tokens: tokenizer.ggml.tokens is absent or empty");
    if (g_.tokens.size() > limits_.vocabulary)
      throw FileError(
          Code::limit, path_,
          "tokenizer.ggml.tokens has more than " + std::to_string(limits_.vocabulary) + " entries");
    if (!g_.types.empty()) same_count(g_.types.size(), "tokenizer.ggml.token_type");
    if (!g_.scores.empty()) same_count(g_.scores.size(), "tokenizer.ggml.scores");
    for (size_t i = 0; i < g_.tokens.size(); ++i)
      if (!valid_utf8(g_.tokens[i]))
        throw FileError(Code::utf8, path_, "token " + std::to_string(i) + " is not UTF-8");
    check_ids(static_cast<int64_t>(g_.tokens.size()));
    if (g_.model == "gpt2") return byte_level();
    if (g_.model == "llama" || g_.model == "t5") return sentencepiece();
    if (g_.model == "bert") return word_piece();
    throw UnsupportedError(
        path_, "tokenizer kind " + quote(g_.model) + " is not known",
        "known: gpt2, llama, t5, bert; or a file with tokenizer.huggingface.json");
  }

 private:
  void same_count(size_t n, const char* key) const {
    if (n != g_.tokens.size())
      throw FileError(Code::mismatch, path_,
                      std::string(key) + " has " + std::to_string(n) + " entries for " +
                          std::to_string(g_.tokens.size()) + " tokens");
  }

  void check_ids(int64_t count) const {
    for (const auto& [id, key] : {std::pair{g_.bos, "bos_token_id"},
                                  {g_.eos, "eos_token_id"},
                                  {g_.eot, "eot_token_id"},
                                  {g_.eom, "eom_token_id"},
                                  {g_.unk, "unknown_token_id"},
                                  {g_.sep, "seperator_token_id"},
                                  {g_.pad, "padding_token_id"},
                                  {g_.cls, "cls_token_id"},
                                  {g_.mask, "mask_token_id"}})
      if (id && (*id < 0 || *id >= count))
        throw FileError(Code::value, path_,
                        std::string("tokenizer.ggml.") + key + " " + std::to_string(*id) +
                            " is not one of the " + std::to_string(g_.tokens.size()) + " tokens");
  }

  PieceType type(size_t i) const {
    if (g_.types.empty()) return PieceType::normal;
    const int32_t t = g_.types[i];
    return t >= 1 && t <= 6 ? static_cast<PieceType>(t) : PieceType::normal;
  }

  std::optional<TokenName> name(const std::optional<int64_t>& id) const {
    if (!id || *id >= static_cast<int64_t>(g_.tokens.size())) return {};
    return TokenName{g_.tokens[static_cast<size_t>(*id)], static_cast<int32_t>(*id)};
  }

  TokenizerConfig config_of(TokenizerConfig out) const {
    const auto put = [&](std::optional<std::string>& slot, const std::optional<int64_t>& id) {
      if (const auto token = name(id)) slot = token->text;
    };
    put(out.bos, g_.bos);
    put(out.eos, g_.eos);
    put(out.unk, g_.unk);
    put(out.sep, g_.sep);
    put(out.pad, g_.pad);
    put(out.cls, g_.cls);
    put(out.mask, g_.mask);
    for (const auto& id : {g_.eot, g_.eom})
      if (id) out.eos_ids.push_back(static_cast<int32_t>(*id));
    for (size_t i = 0; i < g_.tokens.size(); ++i)
      if (type(i) == PieceType::control &&
          std::find(kEndings.begin(), kEndings.end(), g_.tokens[i]) != kEndings.end())
        out.eos_ids.push_back(static_cast<int32_t>(i));
    return out;
  }

  Tokenizer byte_level() const {
    const PreTokenizer pre = pre_tokenizer(g_.pre, path_);
    TokenizerJson out;
    out.normalizer = pre.normalizer;
    out.pre_tokenizer = pre.pre_tokenizer;
    out.decoder = byte_level_decoder();
    out.model = bpe_model(std::nullopt, false, pre.ignore_merges);
    Json vocab = Json::object(), merges = Json::array();
    std::unordered_set<std::string_view> seen;
    for (size_t i = 0; i < g_.tokens.size(); ++i) {
      const std::string& text = g_.tokens[i];
      // Converters fill holes with "[PAD7]" of type unused, and some files have empty tokens: ids
      // without a text.
      if (text.empty() || (type(i) == PieceType::unused && text.starts_with("[PAD"))) continue;
      if (!seen.insert(text).second)
        throw FileError(Code::duplicate, path_,
                        "token " + quote(text) + " appears twice in tokenizer.ggml.tokens");
      append(vocab, text, i);
      if (type(i) == PieceType::control || type(i) == PieceType::unknown)
        out.add_token(static_cast<int32_t>(i), text, true);
      if (type(i) == PieceType::user_defined) out.add_token(static_cast<int32_t>(i), text, false);
    }
    for (const std::string& merge : g_.merges) {
      // A token may begin with a space, never hold one further in.
      const size_t space = merge.find(' ', 1);
      if (space == std::string::npos || space + 1 >= merge.size())
        throw FileError(Code::value, path_, "merge " + quote(merge) + " is not two tokens");
      merges.push_back(Json::array({merge.substr(0, space), merge.substr(space + 1)}));
    }
    out.model["vocab"] = std::move(vocab);
    out.model["merges"] = std::move(merges);
    const auto bos = name(g_.bos), eos = name(g_.eos), sep = g_.sep ? name(g_.sep) : eos;
    if (g_.add_sep.value_or(pre.add_sep) && bos && sep) {
      out.post_processor = roberta_processor(*bos, *sep);
    } else {
      out.post_processor = bos_eos_processor(g_.add_bos.value_or(pre.add_bos) ? bos : std::nullopt,
                                             g_.add_eos.value_or(false) ? eos : std::nullopt);
    }
    return Tokenizer::from_root(out.take(),
                                path_ + ": gpt2, " + (g_.pre.empty() ? "default" : g_.pre),
                                config_of({}), limits_);
  }

  Tokenizer sentencepiece() const {
    SentencePieceModel model;
    const bool llama = g_.model == "llama";
    model.kind = llama ? SentencePieceModel::Kind::bpe : SentencePieceModel::Kind::unigram;
    if (g_.scores.empty())
      throw FileError(Code::missing, path_,
                      "tokenizer.ggml.scores is absent: a " + g_.model + " tokenizer needs them");
    for (size_t i = 0; i < g_.tokens.size(); ++i) {
      if (!std::isfinite(g_.scores[i]))
        throw FileError(Code::nonfinite, path_,
                        "the score of token " + std::to_string(i) + " is not finite");
      if (g_.tokens[i].empty())
        throw FileError(Code::value, path_, "token " + std::to_string(i) + " is empty");
      model.pieces.push_back({g_.tokens[i], g_.scores[i], type(i)});
      model.byte_fallback |= type(i) == PieceType::byte;
      if (type(i) == PieceType::unknown && !g_.unk) model.unk = static_cast<int32_t>(i);
    }
    if (g_.unk) model.unk = static_cast<int32_t>(*g_.unk);
    model.bos = static_cast<int32_t>(g_.bos.value_or(llama ? 1 : -1));
    model.eos = static_cast<int32_t>(g_.eos.value_or(llama ? 2 : 1));
    model.pad = static_cast<int32_t>(g_.pad.value_or(-1));
    model.add_dummy_prefix = g_.add_space_prefix.value_or(true);
    model.remove_extra_whitespaces = g_.remove_extra_whitespaces.value_or(!llama);
    model.charsmap = g_.charsmap;
    TokenizerConfig config = config_of({});
    config.add_bos = g_.add_bos.value_or(llama);
    config.add_eos = g_.add_eos.value_or(!llama);
    config.tokenizer_class = llama ? "LlamaTokenizer" : "T5Tokenizer";
    return tokenizer_from_sentencepiece(model, path_ + ": " + g_.model, config, limits_);
  }

  // Words carry a phantom space, continuations none: "\u2581the" is "the", "ing" is "##ing";
  // bracketed names stand as they are.
  Tokenizer word_piece() const {
    constexpr std::string_view space = "\u2581";
    std::vector<std::string> words;
    for (size_t i = 0; i < g_.tokens.size(); ++i) {
      const std::string& t = g_.tokens[i];
      const bool bracketed = t.size() > 2 && t.front() == '[' && t.back() == ']';
      if (t.starts_with(space)) {
        words.push_back(t.substr(space.size()));
      } else if (t.empty() || bracketed || type(i) != PieceType::normal) {
        words.push_back(t);
      } else {
        words.push_back("##" + t);
      }
    }
    return tokenizer_from_word_pieces(words, path_ + ": bert", config_of({}), limits_);
  }

  const GgufTokenizer& g_;
  const std::string& path_;
  const Limits& limits_;
};

}  // namespace

Tokenizer tokenizer_from_gguf(const GgufTokenizer& gguf, const std::string& path,
                              const Limits& limits) {
  return Rebuilder(gguf, path, limits).run();
}

std::optional<ChatTemplate> chat_template_from_gguf(const GgufTokenizer& gguf,
                                                    const std::string& path,
                                                    const std::string& name, const Limits& limits) {
  const auto it = gguf.chat_templates.find(name);
  if (it == gguf.chat_templates.end()) return {};
  return ChatTemplate::from_source(it->second, path + ": tokenizer.chat_template", limits);
}

}  // namespace halftone::text
