#include "halftone/text/vocabulary_files.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <unordered_set>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"
#include "halftone/base/json.h"
#include "halftone/text/base64.h"
#include "halftone/text/byte_level.h"
#include "halftone/text/pre_tokenizers.h"
#include "halftone/text/tokenizer_json.h"

namespace halftone::text {
namespace {

// A vocabulary under construction, and what is looked up in it. Keys are kept by value: the sources
// go out of scope.
class Vocabulary {
 public:
  explicit Vocabulary(const std::string& source) : source_(source) {}

  void add(std::string text, int32_t id) {
    if (!valid_utf8(text))
      throw FileError(Code::utf8, source_, "token " + quote(text) + " is not UTF-8");
    if (!ids_.emplace(text, id).second)
      throw FileError(Code::duplicate, source_, "token " + quote(text) + " appears twice");
    append(json_, std::move(text), id);
  }
  std::optional<TokenName> find(const std::optional<std::string>& text) const {
    if (!text) return {};
    const auto it = ids_.find(*text);
    if (it == ids_.end()) return {};
    return TokenName{*text, it->second};
  }
  bool has(const std::string& text) const { return ids_.contains(text); }
  Json take() { return std::move(json_); }

 private:
  const std::string& source_;
  std::unordered_map<std::string, int32_t> ids_;
  Json json_ = Json::object();
};

// Every special token that the configuration names or lists becomes an added token; listed ones may
// be new to the vocabulary.
void add_configured(TokenizerJson& out, Vocabulary& vocabulary, const TokenizerConfig& config) {
  std::unordered_set<std::string> done;
  for (const ConfigToken& token : config.added) {
    if (!vocabulary.has(token.content)) vocabulary.add(token.content, token.id);
    if (done.insert(token.content).second)
      out.add_token(token.id, token.content, token.special, token.lstrip);
  }
  for (const auto& text :
       {config.bos, config.eos, config.unk, config.sep, config.pad, config.cls, config.mask})
    if (const auto token = vocabulary.find(text); token && done.insert(token->text).second)
      out.add_token(token->id, token->text, true, text == config.mask);
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    out.push_back(line);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return out;
}

void fill(std::optional<std::string>& slot, const Vocabulary& vocabulary, const char* text) {
  if (!slot && vocabulary.has(text)) slot = text;
}

Tokenizer finish(TokenizerJson& out, Vocabulary& vocabulary, Json merges, const std::string& source,
                 const TokenizerConfig& config, const Limits& limits) {
  out.model["vocab"] = vocabulary.take();
  if (!merges.is_null()) out.model["merges"] = std::move(merges);
  return Tokenizer::from_root(out.take(), source, config, limits);
}

// The special tokens that publishers keep beside their rank files, by the number of ranks.
std::vector<ConfigToken> known_specials(size_t ranks) {
  std::vector<ConfigToken> out;
  const auto add = [&](int32_t id, std::string text) {
    out.push_back({id, std::move(text), true, false});
  };
  if (ranks == 151643) {  // Qwen
    add(151643, "<|endoftext|>");
    add(151644, "<|im_start|>");
    add(151645, "<|im_end|>");
    for (int32_t i = 0; i < 205; ++i) add(151646 + i, "<|extra_" + std::to_string(i) + "|>");
  } else if (ranks == 128000) {  // Llama 3
    const std::vector<const char*> names = {"<|begin_of_text|>",
                                            "<|end_of_text|>",
                                            "<|reserved_special_token_0|>",
                                            "<|reserved_special_token_1|>",
                                            "<|finetune_right_pad_id|>",
                                            "<|reserved_special_token_2|>",
                                            "<|start_header_id|>",
                                            "<|end_header_id|>",
                                            "<|eom_id|>",
                                            "<|eot_id|>",
                                            "<|python_tag|>"};
    for (size_t i = 0; i < 256; ++i)
      add(static_cast<int32_t>(128000 + i),
          i < names.size() ? names[i] : "<|reserved_special_token_" + std::to_string(i - 8) + "|>");
  } else if (ranks == 100256) {  // cl100k_base
    add(100257, "<|endoftext|>");
    add(100258, "<|fim_prefix|>");
    add(100259, "<|fim_middle|>");
    add(100260, "<|fim_suffix|>");
    add(100276, "<|endofprompt|>");
  } else if (ranks == 199998) {  // o200k_base
    add(199999, "<|endoftext|>");
    add(200018, "<|endofprompt|>");
  }
  return out;
}

const char* known_cut(size_t ranks) {
  switch (ranks) {
    case 151643:
      return "qwen2";
    case 128000:
    case 100256:
      return "llama-bpe";
    case 199998:
      return "gpt-4o";
    default:
      return "";
  }
}

}  // namespace

Tokenizer tokenizer_from_bpe_files(std::string_view vocab_json, std::string_view merges_txt,
                                   std::string_view pre, const std::string& source,
                                   TokenizerConfig config, const Limits& limits) {
  const Json vocab = parse_json(vocab_json, source, limits);
  if (!vocab.is_object())
    throw FileError(Code::type, source, "the vocabulary is not an object of token: id");
  Vocabulary vocabulary(source);
  for (const auto& [token, id] : vocab.items()) {
    if (!id.is_number_integer() || (!id.is_number_unsigned() && id.get<int64_t>() < 0) ||
        id.get<uint64_t>() >= limits.vocabulary)
      throw FileError(Code::value, source,
                      "token " + quote(token) + " has an id that is not a number below " +
                          std::to_string(limits.vocabulary));
    vocabulary.add(token, id.get<int32_t>());
  }
  Json merges = Json::array();
  for (const std::string_view line : lines_of(merges_txt)) {
    if (line.empty() || line.starts_with("#version")) continue;
    const size_t space = line.find(' ');
    if (space == 0 || space == std::string_view::npos || space + 1 == line.size() ||
        line.find(' ', space + 1) != std::string_view::npos)
      throw FileError(Code::value, source, "merge " + quote(line) + " is not two tokens");
    if (!valid_utf8(line))
      throw FileError(Code::utf8, source, "merge " + quote(line) + " is not UTF-8");
    merges.push_back(
        Json::array({std::string(line.substr(0, space)), std::string(line.substr(space + 1))}));
  }

  const PreTokenizer cut = pre_tokenizer(pre, source);
  TokenizerJson out;
  const bool roberta = vocabulary.has("<s>") && vocabulary.has("</s>") &&
                       vocabulary.has("<mask>") && !config.add_bos;
  if (roberta) {
    for (const auto& [slot, text] : {std::pair{&config.bos, "<s>"},
                                     {&config.cls, "<s>"},
                                     {&config.eos, "</s>"},
                                     {&config.sep, "</s>"},
                                     {&config.unk, "<unk>"},
                                     {&config.pad, "<pad>"},
                                     {&config.mask, "<mask>"}})
      fill(*slot, vocabulary, text);
  } else {
    for (auto* slot : {&config.bos, &config.eos, &config.unk})
      fill(*slot, vocabulary, "<|endoftext|>");
  }
  add_configured(out, vocabulary, config);
  out.normalizer = cut.normalizer;
  out.pre_tokenizer = cut.pre_tokenizer;
  out.decoder = byte_level_decoder();
  out.model = bpe_model(std::nullopt, false, cut.ignore_merges);
  const auto bos = vocabulary.find(config.bos), sep = vocabulary.find(config.sep);
  if (roberta && bos && sep) {
    out.post_processor = roberta_processor(*bos, *sep);
  } else if (cut.add_bos && bos) {
    out.post_processor = bos_eos_processor(bos, std::nullopt);
  }
  return finish(out, vocabulary, std::move(merges), source, config, limits);
}

bool looks_like_tiktoken(std::string_view text) {
  const std::string_view line = text.substr(0, std::min(text.find('\n'), text.size()));
  const size_t space = line.find(' ');
  return space != std::string_view::npos && space > 0 && space + 1 < line.size() &&
         from_base64(line.substr(0, space)) &&
         line.substr(space + 1).find_first_not_of("0123456789\r") == std::string_view::npos;
}

Tokenizer tokenizer_from_tiktoken(std::string_view text, std::string_view pre,
                                  const std::string& source, TokenizerConfig config,
                                  const Limits& limits) {
  std::unordered_map<std::string, int32_t> ranks;
  std::vector<std::pair<int32_t, std::string>> tokens;
  size_t number = 0;
  for (const std::string_view line : lines_of(text)) {
    ++number;
    if (line.empty()) continue;
    const std::string where = "line " + std::to_string(number);
    const size_t space = line.find(' ');
    const auto bytes = from_base64(line.substr(0, space));
    int32_t rank = -1;
    if (space != std::string_view::npos) {
      const auto [end, error] =
          std::from_chars(line.data() + space + 1, line.data() + line.size(), rank);
      if (error != std::errc() || end != line.data() + line.size()) rank = -1;
    }
    if (!bytes || bytes->empty() || rank < 0)
      throw FileError(Code::value, source, where + " is not \"base64 rank\"");
    if (static_cast<uint64_t>(rank) >= limits.vocabulary)
      throw FileError(Code::limit, source, where + " has a rank of " + std::to_string(rank));
    if (bytes->size() > 4096)
      throw FileError(Code::limit, source, where + " has a token longer than 4096 bytes");
    if (!ranks.emplace(*bytes, rank).second)
      throw FileError(Code::duplicate, source, where + " has a token that was there before");
    tokens.emplace_back(rank, *bytes);
  }
  if (tokens.empty()) throw FileError(Code::value, source, "has no tokens");
  std::sort(tokens.begin(), tokens.end());

  // The engine of these files joins any two neighbours whose joint bytes are a token, lowest rank
  // first: every cut is a merge.
  Vocabulary vocabulary(source);
  Json merges = Json::array();
  std::vector<std::pair<int32_t, int32_t>> cuts;
  std::unordered_map<int32_t, std::string> spelled;
  for (const auto& [rank, bytes] : tokens) spelled.emplace(rank, to_byte_level(bytes));
  for (const auto& [rank, bytes] : tokens) {
    vocabulary.add(spelled.at(rank), rank);
    cuts.clear();
    for (size_t cut = 1; cut < bytes.size(); ++cut) {
      const auto left = ranks.find(bytes.substr(0, cut));
      if (left == ranks.end()) continue;
      const auto right = ranks.find(bytes.substr(cut));
      if (right != ranks.end()) cuts.emplace_back(left->second, right->second);
    }
    std::sort(cuts.begin(), cuts.end());
    for (const auto& [left, right] : cuts)
      merges.push_back(Json::array({spelled.at(left), spelled.at(right)}));
  }

  if (config.added.empty()) config.added = known_specials(tokens.size());
  const std::string_view name = pre.empty() ? std::string_view(known_cut(tokens.size())) : pre;
  if (name.empty())
    throw UnsupportedError(
        source,
        "a rank file of " + std::to_string(tokens.size()) + " tokens does not say how to cut text",
        "put tokenizer.json beside it");
  const PreTokenizer cut = pre_tokenizer(name, source);
  TokenizerJson out;
  add_configured(out, vocabulary, config);
  fill(config.bos, vocabulary, "<|begin_of_text|>");
  fill(config.eos, vocabulary, "<|end_of_text|>");
  fill(config.eos, vocabulary, "<|endoftext|>");
  out.normalizer = cut.normalizer;
  out.pre_tokenizer = cut.pre_tokenizer;
  out.decoder = byte_level_decoder();
  out.model = bpe_model(std::nullopt, false, false);
  if (const auto bos = vocabulary.find(config.bos); cut.add_bos && bos)
    out.post_processor = bos_eos_processor(bos, std::nullopt);
  return finish(out, vocabulary, std::move(merges), source, config, limits);
}

Tokenizer tokenizer_from_vocab_txt(std::string_view text, const std::string& source,
                                   TokenizerConfig config, const Limits& limits) {
  std::vector<std::string> words;
  for (const std::string_view line : lines_of(text)) {
    if (words.size() >= limits.vocabulary)
      throw FileError(Code::limit, source,
                      "has more than " + std::to_string(limits.vocabulary) + " lines");
    words.emplace_back(line);
  }
  return tokenizer_from_word_pieces(words, source, std::move(config), limits);
}

Tokenizer tokenizer_from_word_pieces(const std::vector<std::string>& words,
                                     const std::string& source, TokenizerConfig config,
                                     const Limits& limits) {
  Vocabulary vocabulary(source);
  for (size_t i = 0; i < words.size(); ++i)
    if (!words[i].empty()) vocabulary.add(words[i], static_cast<int32_t>(i));
  for (const auto& [slot, text] : {std::pair{&config.unk, "[UNK]"},
                                   {&config.cls, "[CLS]"},
                                   {&config.sep, "[SEP]"},
                                   {&config.pad, "[PAD]"},
                                   {&config.mask, "[MASK]"}})
    fill(*slot, vocabulary, text);
  if (!vocabulary.find(config.unk))
    throw FileError(Code::missing, source,
                    "there is no unknown token: neither [UNK] nor one named by the configuration");

  TokenizerJson out;
  add_configured(out, vocabulary, config);
  // A cased vocabulary has the capital letters; an uncased one cannot use them.
  const bool cased = vocabulary.has("A") && vocabulary.has("T");
  out.normalizer = {{"type", "BertNormalizer"},
                    {"clean_text", true},
                    {"handle_chinese_chars", true},
                    {"strip_accents", nullptr},
                    {"lowercase", config.lower_case.value_or(!cased)}};
  out.pre_tokenizer = {{"type", "BertPreTokenizer"}};
  out.decoder = {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}};
  out.model = {{"type", "WordPiece"},
               {"unk_token", *config.unk},
               {"continuing_subword_prefix", "##"},
               {"max_input_chars_per_word", 100}};
  const auto cls = vocabulary.find(config.cls), sep = vocabulary.find(config.sep);
  if (cls && sep) out.post_processor = bert_processor(*cls, *sep);
  return finish(out, vocabulary, nullptr, source, config, limits);
}

}  // namespace halftone::text
