#include "halftone/text/tokenizer_check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <unordered_map>
#include <unordered_set>

#include "halftone/base/error.h"
#include "halftone/text/charsmap.h"
#include "halftone/text/regex_shape.h"

namespace halftone::text {
namespace {

constexpr std::array kNormalizers = {
    "BertNormalizer", "ByteLevel", "Lowercase", "NFC",      "NFD",   "NFKC",        "NFKD", "Nmt",
    "Precompiled",    "Prepend",   "Replace",   "Sequence", "Strip", "StripAccents"};
constexpr std::array kPreTokenizers = {"BertPreTokenizer", "ByteLevel",   "CharDelimiterSplit",
                                       "Digits",           "FixedLength", "Metaspace",
                                       "Punctuation",      "Sequence",    "Split",
                                       "UnicodeScripts",   "Whitespace",  "WhitespaceSplit"};
constexpr std::array kPostProcessors = {"BertProcessing", "ByteLevel", "RobertaProcessing",
                                        "Sequence", "TemplateProcessing"};
constexpr std::array kDecoders = {"BPEDecoder", "ByteFallback", "ByteLevel", "CTC",   "Fuse",
                                  "Metaspace",  "Replace",      "Sequence",  "Strip", "WordPiece"};
constexpr std::array kModels = {"BPE", "Unigram", "WordLevel", "WordPiece"};

class Checker {
 public:
  Checker(const Json& root, const std::string& path, const Limits& limits)
      : root_(root), path_(path), limits_(limits) {}
  Checker(const Json& root, TokenTable vocabulary, const std::string& path, const Limits& limits)
      : root_(root), path_(path), limits_(limits), read_(true) {
    facts_.tokens = std::move(vocabulary);
  }

  TokenizerFacts run() {
    if (!root_.is_object()) fail(Code::type, "tokenizer.json is not an object");
    const Json* model = find(root_, "model");
    if (!model) fail(Code::missing, "there is no \"model\"");
    if (!model->is_object()) fail(Code::type, "\"model\" is not an object");
    check_model(*model);
    if (const Json* added = find(root_, "added_tokens")) check_added(*added);
    fill_tokens();
    if (const Json* part = find(root_, "normalizer")) normalizer(*part);
    if (const Json* part = find(root_, "pre_tokenizer")) pre_tokenizer(*part);
    if (const Json* part = find(root_, "post_processor")) post_processor(*part);
    if (const Json* part = find(root_, "decoder")) decoder(*part);
    if (const Json* part = find(root_, "truncation")) truncation(*part);
    limit_growth(facts_.growth, "normalizing");
    limit_growth(decoded_growth_, "decoding");
    return std::move(facts_);
  }

 private:
  [[noreturn]] void fail(Code code, std::string fact) const {
    throw FileError(code, path_, std::move(fact));
  }

  // The member, unless it is absent or null.
  static const Json* find(const Json& object, const char* key) {
    const auto it = object.find(key);
    return it == object.end() || it->is_null() ? nullptr : &*it;
  }
  const Json& need(const Json& object, const char* key, const std::string& where) const {
    const Json* value = find(object, key);
    if (!value) fail(Code::missing, where + " has no \"" + key + "\"");
    return *value;
  }
  std::string text(const Json& value, const std::string& where, uint64_t max) const {
    if (!value.is_string()) fail(Code::type, where + " is not text");
    const auto& s = value.get_ref<const std::string&>();
    if (s.size() > max)
      fail(Code::limit, where + " is longer than " + std::to_string(max) + " bytes");
    return s;
  }
  bool flag(const Json& object, const char* key, bool fallback, const std::string& where) const {
    const Json* value = find(object, key);
    if (!value) return fallback;
    if (!value->is_boolean()) fail(Code::type, where + " \"" + key + "\" is not true or false");
    return value->get<bool>();
  }
  uint64_t count(const Json& value, const std::string& where, uint64_t max) const {
    if (!value.is_number_integer()) fail(Code::type, where + " is not a whole number");
    if (value.is_number_unsigned() ? false : value.get<int64_t>() < 0)
      fail(Code::value, where + " is negative");
    const auto n = value.get<uint64_t>();
    if (n > max)
      fail(Code::limit, where + " " + std::to_string(n) + " is more than " + std::to_string(max));
    return n;
  }
  int32_t id(const Json& value, const std::string& where) const {
    return static_cast<int32_t>(count(value, where + " id", limits_.vocabulary - 1));
  }
  template <size_t N>
  std::string kind(const Json& part, const char* what,
                   const std::array<const char*, N>& known) const {
    if (!part.is_object()) fail(Code::type, std::string(what) + " is not an object");
    const std::string name =
        text(need(part, "type", what), std::string(what) + " type", limits_.name_bytes);
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw UnsupportedError(path_, std::string(what) + " " + quote(name) + " is not known",
                             "known: " + listed(known));
    return name;
  }

  // ---- model

  // Files of early tokenizers have no "type".
  std::string model_kind(const Json& model) const {
    if (find(model, "type")) return kind(model, "model", kModels);
    if (find(model, "merges")) return "BPE";
    if (const Json* vocab = find(model, "vocab"); vocab && vocab->is_array()) return "Unigram";
    if (find(model, "max_input_chars_per_word")) return "WordPiece";
    if (find(model, "vocab")) return "WordLevel";
    fail(Code::missing, "model has neither \"type\" nor \"vocab\"");
  }

  void check_model(const Json& model) {
    facts_.model = model_kind(model);
    const Json& vocab = need(model, "vocab", "model");
    if (facts_.model == "Unigram") {
      unigram(model, vocab);
    } else {
      if (!read_) token_map(vocab);
      if (const Json* unk = find(model, "unk_token"))
        facts_.unk_token = text(*unk, "unk_token", limits_.token_bytes);
    }
    if (facts_.model == "BPE") bpe(model);
    if (facts_.model == "WordPiece") {
      facts_.word_prefix = "##";
      if (const Json* prefix = find(model, "continuing_subword_prefix"))
        facts_.word_prefix = text(*prefix, "continuing_subword_prefix", limits_.name_bytes);
      if (const Json* n = find(model, "max_input_chars_per_word"))
        count(*n, "max_input_chars_per_word", 10'000);
    }
    if ((facts_.model == "WordPiece" || facts_.model == "WordLevel") &&
        !ids_.contains(facts_.unk_token))
      fail(Code::value, "unk_token " + quote(facts_.unk_token) + " is not in the vocabulary");
    facts_.byte_fallback = flag(model, "byte_fallback", false, "model");
  }

  void token_map(const Json& vocab) {
    if (!vocab.is_object()) fail(Code::type, "the vocabulary is not an object of token: id");
    if (vocab.empty()) fail(Code::value, "the vocabulary is empty");
    if (vocab.size() > limits_.vocabulary)
      fail(Code::limit,
           "the vocabulary has more than " + std::to_string(limits_.vocabulary) + " tokens");
    std::unordered_set<int32_t> seen;
    seen.reserve(vocab.size());
    ids_.reserve(vocab.size());
    for (const auto& [token, value] : vocab.items()) {
      if (token.size() > limits_.token_bytes)
        fail(Code::limit, "token " + quote(token) + " is too long");
      const int32_t n = id(value, "token " + quote(token));
      if (!seen.insert(n).second)
        fail(Code::duplicate,
             "id " + std::to_string(n) + " belongs to two tokens, one is " + quote(token));
      ids_.emplace(token, n);
    }
  }

  void unigram(const Json& model, const Json& vocab) {
    if (!vocab.is_array())
      fail(Code::type, "the Unigram vocabulary is not a list of [token, score]");
    if (vocab.empty()) fail(Code::value, "the vocabulary is empty");
    if (vocab.size() > limits_.vocabulary)
      fail(Code::limit,
           "the vocabulary has more than " + std::to_string(limits_.vocabulary) + " tokens");
    int32_t n = 0;
    for (const Json& entry : vocab) {
      const std::string where = "Unigram entry " + std::to_string(n);
      if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number())
        fail(Code::type, where + " is not [token, score]");
      if (!std::isfinite(entry[1].get<double>()))
        fail(Code::nonfinite, where + " has a score that is not finite");
      const auto& token = entry[0].get_ref<const std::string&>();
      if (token.size() > limits_.token_bytes) fail(Code::limit, where + " is too long");
      ids_.emplace(token, n++);
      unigram_.push_back(token);
    }
    if (const Json* unk = find(model, "unk_id")) {
      const uint64_t at = count(*unk, "unk_id", limits_.vocabulary);
      if (at >= vocab.size())
        fail(Code::value, "unk_id " + std::to_string(at) + " is past the " +
                              std::to_string(vocab.size()) + " tokens");
      facts_.unk_token = unigram_[at];
    }
  }

  void bpe(const Json& model) {
    if (const Json* dropout = find(model, "dropout");
        dropout && !(dropout->is_number() && dropout->get<double>() == 0.0))
      fail(Code::value, "BPE dropout would make the ids random");
    std::string prefix;
    if (const Json* p = find(model, "continuing_subword_prefix"))
      prefix = text(*p, "continuing_subword_prefix", limits_.name_bytes);
    if (const Json* p = find(model, "end_of_word_suffix"))
      text(*p, "end_of_word_suffix", limits_.name_bytes);
    const Json& merges = need(model, "merges", "model");
    if (read_) return;
    if (!merges.is_array()) fail(Code::type, "\"merges\" is not a list");
    if (merges.size() > limits_.array_elements) fail(Code::limit, "too many merges");
    size_t row = 0;
    std::string a, b;
    for (const Json& merge : merges) {
      const std::string where = "merge " + std::to_string(row++);
      if (merge.is_string()) {
        const auto& line = merge.get_ref<const std::string&>();
        // The crate skips such lines and splits the others at single spaces.
        if (line.starts_with("#version")) continue;
        const size_t space = line.find(' ');
        if (space == std::string::npos || line.find(' ', space + 1) != std::string::npos)
          fail(Code::value, where + " " + quote(line) + " is not two tokens");
        a = line.substr(0, space);
        b = line.substr(space + 1);
      } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
                 merge[1].is_string()) {
        a = merge[0].get<std::string>();
        b = merge[1].get<std::string>();
      } else if (merge.is_array() && merge.size() != 2) {
        fail(Code::value, where + " is not two tokens");
      } else {
        fail(Code::type, where + " is neither text nor a pair of texts");
      }
      for (const std::string* part : {&a, &b})
        if (!ids_.contains(*part))
          fail(Code::value,
               where + " speaks of " + quote(*part) + ", which is not in the vocabulary");
      if (b.size() < prefix.size() ||
          (b.size() > prefix.size() &&
           (static_cast<unsigned char>(b[prefix.size()]) & 0xC0) == 0x80))
        fail(Code::value,
             where + ": " + quote(b) + " is shorter than the subword prefix " + quote(prefix));
      if (const std::string product = a + b.substr(prefix.size()); !ids_.contains(product))
        fail(Code::value, where + " makes " + quote(product) + ", which is not in the vocabulary");
    }
  }

  // ---- added tokens

  void check_added(const Json& added) {
    if (!added.is_array()) fail(Code::type, "\"added_tokens\" is not a list");
    if (added.size() > limits_.vocabulary) fail(Code::limit, "too many added tokens");
    std::unordered_map<int32_t, std::string> by_id;
    for (const Json& entry : added) {
      if (!entry.is_object()) fail(Code::type, "an added token is not an object");
      AddedToken token;
      token.content = text(need(entry, "content", "an added token"),
                           "the content of an added token", limits_.token_bytes);
      if (token.content.empty()) fail(Code::value, "an added token is empty");
      const std::string where = "added token " + quote(token.content);
      token.id = id(need(entry, "id", where), where);
      for (const char* key : {"single_word", "lstrip", "rstrip", "normalized"})
        flag(entry, key, false, where);
      token.special = flag(entry, "special", false, where);
      if (const auto known = id_of(token.content); known && *known != token.id)
        fail(Code::mismatch, where + " has id " + std::to_string(token.id) + " here and " +
                                 std::to_string(*known) + " in the vocabulary");
      if (!by_id.emplace(token.id, token.content).second)
        fail(Code::duplicate, "id " + std::to_string(token.id) +
                                  " belongs to two added tokens, one is " + quote(token.content));
      facts_.added.push_back(std::move(token));
    }
  }

  std::optional<int32_t> id_of(std::string_view token) const {
    if (read_) return facts_.tokens.find(token);
    const auto it = ids_.find(token);
    return it == ids_.end() ? std::nullopt : std::optional(it->second);
  }

  void fill_tokens() {
    int32_t last = static_cast<int32_t>(facts_.tokens.size()) - 1;
    for (const auto& [token, n] : ids_) last = std::max(last, n);
    for (const AddedToken& token : facts_.added) last = std::max(last, token.id);
    const uint64_t known =
        ids_.size() + static_cast<uint64_t>(facts_.tokens.used()) + facts_.added.size();
    if (static_cast<uint64_t>(last) > known * 8 + 65536)
      fail(Code::value, "id " + std::to_string(last) + " in a vocabulary of " +
                            std::to_string(known) + " tokens");
    if (!read_) {
      std::vector<std::string_view> texts(static_cast<size_t>(last) + 1);
      std::copy(unigram_.begin(), unigram_.end(), texts.begin());
      for (const auto& [token, n] : ids_) texts[static_cast<size_t>(n)] = token;
      facts_.tokens.reserve(texts.size(), 8 * texts.size());
      for (size_t i = 0; i < texts.size(); ++i)
        facts_.tokens.add(static_cast<int32_t>(i), texts[i]);
    }
    for (const AddedToken& token : facts_.added) {
      const std::string_view slot = facts_.tokens[token.id];
      if (!slot.empty() && slot != token.content)
        fail(Code::duplicate, "id " + std::to_string(token.id) + " belongs to " + quote(slot) +
                                  " and to the added token " + quote(token.content));
      if (slot.empty()) facts_.tokens.add(token.id, token.content);
      if (!read_) ids_.emplace(token.content, token.id);
    }
  }

  // ---- normalizer, pre-tokenizer

  void limit_growth(double growth, const char* what) const {
    if (growth > static_cast<double>(limits_.normalizer_growth))
      fail(Code::limit, std::string(what) + " may turn one byte into more than " +
                            std::to_string(limits_.normalizer_growth));
  }

  // A pattern is {"String": s} or {"Regex": s}. Returns the fewest bytes that a match has, at
  // least 1.
  size_t pattern(const Json& part, const std::string& where) const {
    const Json& value = need(part, "pattern", where);
    if (value.is_string())
      return std::max<size_t>(1, text(value, where + " pattern", limits_.regex_bytes).size());
    if (!value.is_object() || value.size() != 1)
      fail(Code::type, where + " pattern is neither {\"String\"} nor {\"Regex\"}");
    const std::string key = value.begin().key();
    const std::string s = text(value.begin().value(), where + " pattern", limits_.regex_bytes);
    if (key == "String") {
      if (s.empty()) fail(Code::value, where + " pattern is empty");
      return s.size();
    }
    if (key != "Regex") fail(Code::value, where + " pattern kind " + quote(key) + " is not known");
    if (const auto danger = regex_danger(s, limits_))
      fail(Code::value, where + " pattern " + quote(s, 60) + " " + *danger);
    return 1;
  }

  double replaced(const Json& part, const std::string& where) const {
    const size_t shortest = pattern(part, where);
    const std::string content =
        text(need(part, "content", where), where + " content", limits_.name_bytes);
    return std::max(1.0, static_cast<double>(content.size()) / static_cast<double>(shortest));
  }

  const Json& list(const Json& part, const char* key, const std::string& where) const {
    const Json& items = need(part, key, where);
    if (!items.is_array()) fail(Code::type, where + " \"" + key + "\" is not a list");
    if (items.size() > 256) fail(Code::limit, where + " has more than 256 parts");
    return items;
  }

  // Sequences nest; the depth of the JSON bounds this recursion (limits.json_depth).
  void normalizer(const Json& part) {
    const std::string name = kind(part, "normalizer", kNormalizers);
    const std::string where = "normalizer " + name;
    if (name == "Sequence") {
      for (const Json& item : list(part, "normalizers", where)) normalizer(item);
    } else if (name == "Replace") {
      facts_.growth *= replaced(part, where);
      metaspace_mark(part, "content");
    } else if (name == "Prepend") {
      const std::string s = text(need(part, "prepend", where), where, limits_.name_bytes);
      facts_.growth *= 1.0;  // once for a text, not for each byte
      if (s == "\u2581") facts_.metaspace = true;
    } else if (name == "Precompiled") {
      const std::string map = text(need(part, "precompiled_charsmap", where), where, 64ull << 20);
      facts_.growth *= check_charsmap(map, path_);
    } else if (name == "ByteLevel") {
      facts_.growth *= 2;
      facts_.byte_level = true;
    } else if (name == "NFD" || name == "NFC") {
      facts_.growth *= 3;  // Unicode, UAX #15: the largest expansion factors in UTF-8
    } else if (name == "NFKD" || name == "NFKC") {
      facts_.growth *= 11;
    } else if (name == "BertNormalizer") {
      facts_.growth *= 3 * 2;  // NFD, spaces around Chinese characters
    } else if (name == "Lowercase") {
      facts_.growth *= 1.5;
    }
  }

  void metaspace_mark(const Json& part, const char* key) {
    if (const Json* value = find(part, key);
        value && value->is_string() && value->get_ref<const std::string&>() == "\u2581")
      facts_.metaspace = true;
  }

  void pre_tokenizer(const Json& part) {
    const std::string name = kind(part, "pre-tokenizer", kPreTokenizers);
    const std::string where = "pre-tokenizer " + name;
    if (name == "Sequence") {
      for (const Json& item : list(part, "pretokenizers", where)) pre_tokenizer(item);
    } else if (name == "Split") {
      pattern(part, where);
    } else if (name == "ByteLevel") {
      facts_.growth *= 2;
      facts_.byte_level = true;
    } else if (name == "Metaspace") {
      facts_.growth *= 3;
      const std::string mark = text(need(part, "replacement", where), where, 4);
      if (mark == "\u2581") facts_.metaspace = true;
    } else if (name == "FixedLength") {
      if (const Json* length = find(part, "length");
          length && count(*length, where + " length", 1u << 20) == 0)
        fail(Code::value, where + " length is 0");
    }
  }

  // ---- post-processor, decoder

  void known_token(const std::string& token, int32_t n, const std::string& where) const {
    const auto known = id_of(token);
    if (!known) fail(Code::value, where + " adds " + quote(token) + ", which is not a token");
    if (*known != n)
      fail(Code::mismatch, where + " gives " + quote(token) + " the id " + std::to_string(n) +
                               ", the vocabulary " + std::to_string(*known));
  }

  void post_processor(const Json& part) {
    const std::string name = kind(part, "post-processor", kPostProcessors);
    const std::string where = "post-processor " + name;
    if (name == "Sequence") {
      for (const Json& item : list(part, "processors", where)) post_processor(item);
    } else if (name == "BertProcessing" || name == "RobertaProcessing") {
      for (const char* key : {"sep", "cls"}) {
        const Json& pair = need(part, key, where);
        if (!pair.is_array() || pair.size() != 2)
          fail(Code::type, where + " \"" + key + "\" is not [token, id]");
        known_token(text(pair[0], where, limits_.token_bytes), id(pair[1], where), where);
      }
    } else if (name == "TemplateProcessing") {
      std::unordered_set<std::string> defined;
      if (const Json* tokens = find(part, "special_tokens")) {
        if (!tokens->is_object()) fail(Code::type, where + " \"special_tokens\" is not an object");
        for (const auto& [key, entry] : tokens->items()) {
          if (!entry.is_object()) fail(Code::type, where + " " + quote(key) + " is not an object");
          const Json& ids = list(entry, "ids", where);
          const Json& names = list(entry, "tokens", where);
          if (ids.size() != names.size() || ids.empty())
            fail(Code::mismatch, where + " " + quote(key) + " has " + std::to_string(ids.size()) +
                                     " ids for " + std::to_string(names.size()) + " tokens");
          for (size_t i = 0; i < ids.size(); ++i)
            known_token(text(names[i], where, limits_.token_bytes), id(ids[i], where), where);
          defined.insert(key);
        }
      }
      for (const char* key : {"single", "pair"}) {
        if (!find(part, key)) continue;
        for (const Json& piece : list(part, key, where)) {
          if (!piece.is_object())
            continue;  // the short spelling "$A:0"; the crate parses and refuses it by itself
          if (const Json* special = find(piece, "SpecialToken")) {
            const std::string token = text(need(*special, "id", where), where, limits_.token_bytes);
            if (!defined.contains(token))
              fail(Code::value, where + " uses " + quote(token) + " without defining it");
          }
        }
      }
    }
  }

  void decoder(const Json& part) {
    const std::string name = kind(part, "decoder", kDecoders);
    const std::string where = "decoder " + name;
    if (name == "Sequence") {
      for (const Json& item : list(part, "decoders", where)) decoder(item);
    } else if (name == "Replace") {
      decoded_growth_ *= replaced(part, where);
    } else if (name == "Strip") {
      for (const char* key : {"start", "stop"})
        if (const Json* n = find(part, key)) count(*n, where + " " + key, 1u << 20);
    } else if (name == "ByteLevel") {
      facts_.byte_level = true;
    } else if (name == "ByteFallback") {
      facts_.byte_fallback = true;
    }
  }

  // Never used, but a file that contradicts itself is damaged.
  void truncation(const Json& part) const {
    if (!part.is_object()) fail(Code::type, "\"truncation\" is not an object");
    const Json* longest = find(part, "max_length");
    const Json* stride = find(part, "stride");
    if (!longest || !stride) return;
    const uint64_t max = count(*longest, "truncation max_length", UINT32_MAX),
                   step = count(*stride, "truncation stride", UINT32_MAX);
    if (step >= max)
      fail(Code::value, "truncation stride " + std::to_string(step) + " is not below max_length " +
                            std::to_string(max));
  }

  const Json& root_;
  const std::string& path_;
  const Limits& limits_;
  const bool read_ = false;  // facts_.tokens holds the vocabulary, merges are known to be good
  TokenizerFacts facts_;
  std::unordered_map<std::string_view, int32_t> ids_;  // into the file, which outlives this object
  std::vector<std::string> unigram_;
  double decoded_growth_ = 1;
};

}  // namespace

TokenizerFacts check_tokenizer(const Json& root, const std::string& path, const Limits& limits) {
  return Checker(root, path, limits).run();
}

TokenizerFacts check_tokenizer(const Json& root, TokenTable vocabulary, const std::string& path,
                               const Limits& limits) {
  return Checker(root, std::move(vocabulary), path, limits).run();
}

}  // namespace halftone::text
