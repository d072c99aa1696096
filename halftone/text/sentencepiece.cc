#include "halftone/text/sentencepiece.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "halftone/base/error.h"
#include "halftone/text/base64.h"
#include "halftone/text/tokenizer_json.h"

namespace halftone::text {
namespace {

constexpr const char* kSpace = "\u2581";

struct Merge {
  int32_t left, right, whole;
  float score;
  uint32_t left_size, right_size;  // in characters
};

bool continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Every cut of every piece into two others. Best score first; then the longer left part, as
// transformers orders them.
std::vector<Merge> all_merges(const std::vector<Piece>& pieces, const std::string& source) {
  const auto takes_part = [](const Piece& p) {
    return p.type == PieceType::normal || p.type == PieceType::user_defined;
  };
  std::unordered_map<std::string_view, int32_t> ids;
  ids.reserve(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i)
    if (takes_part(pieces[i])) ids.emplace(pieces[i].text, static_cast<int32_t>(i));
  std::vector<Merge> out;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const std::string_view text = pieces[i].text;
    if (!takes_part(pieces[i])) continue;
    // The work below is quadratic in a piece's length; real ones have at most some hundred bytes.
    if (text.size() > 4096)
      throw FileError(Code::limit, source,
                      "piece " + quote(text, 40) + " is longer than 4096 bytes");
    const auto characters = static_cast<uint32_t>(
        std::count_if(text.begin(), text.end(), [](char c) { return !continuation(c); }));
    uint32_t left_size = 0;
    const size_t first = out.size();
    for (size_t cut = 1; cut < text.size(); ++cut) {
      if (continuation(text[cut])) continue;
      ++left_size;
      const auto left = ids.find(text.substr(0, cut));
      if (left == ids.end()) continue;
      const auto right = ids.find(text.substr(cut));
      if (right == ids.end()) continue;
      out.push_back({left->second, right->second, static_cast<int32_t>(i), pieces[i].score,
                     left_size, characters - left_size});
    }
    std::sort(out.begin() + static_cast<std::ptrdiff_t>(first), out.end(),
              [](const Merge& a, const Merge& b) {
                return std::pair(a.left, a.right) < std::pair(b.left, b.right);
              });
  }
  std::stable_sort(out.begin(), out.end(), [](const Merge& a, const Merge& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.left_size != b.left_size) return a.left_size > b.left_size;
    return a.right_size > b.right_size;
  });
  return out;
}

Json replace(Json pattern, const char* content) {
  return {{"type", "Replace"}, {"pattern", std::move(pattern)}, {"content", content}};
}

bool has(const std::vector<Piece>& pieces, std::string_view text) {
  return std::any_of(pieces.begin(), pieces.end(), [&](const Piece& p) { return p.text == text; });
}

std::optional<TokenName> name_at(const std::vector<Piece>& pieces, int32_t id) {
  if (id < 0 || static_cast<size_t>(id) >= pieces.size()) return {};
  return TokenName{pieces[static_cast<size_t>(id)].text, id};
}

std::optional<TokenName> name_of(const std::vector<Piece>& pieces,
                                 const std::optional<std::string>& text) {
  if (!text) return {};
  const auto it =
      std::find_if(pieces.begin(), pieces.end(), [&](const Piece& p) { return p.text == *text; });
  if (it == pieces.end()) return {};
  return TokenName{*text, static_cast<int32_t>(it - pieces.begin())};
}

// XLNet's own steps (Yang et al. 2019): quotes, accents and spaces first, <sep> <cls> behind the
// text.
void like_xlnet(TokenizerJson& out, Json steps, const std::vector<Piece>& pieces) {
  Json all = Json::array({replace({{"String", "``"}}, "\""),
                          replace({{"String", "''"}}, "\""),
                          {{"type", "NFKD"}},
                          {{"type", "StripAccents"}}});
  for (Json& step : steps) all.push_back(std::move(step));
  out.normalizer = {{"type", "Sequence"}, {"normalizers", std::move(all)}};
  const Json metaspace = {{"type", "Metaspace"},
                          {"replacement", kSpace},
                          {"prepend_scheme", "always"},
                          {"split", true}};
  out.pre_tokenizer = {{"type", "Sequence"},
                       {"pretokenizers", Json::array({{{"type", "WhitespaceSplit"}}, metaspace})}};
  out.decoder = metaspace;
  const TokenName sep = *name_of(pieces, "<sep>"), cls = *name_of(pieces, "<cls>");
  const auto special = [](const char* text, int type) {
    return Json{{"SpecialToken", {{"id", text}, {"type_id", type}}}};
  };
  const auto sequence = [](const char* text, int type) {
    return Json{{"Sequence", {{"id", text}, {"type_id", type}}}};
  };
  const Json tokens = {
      {"<sep>",
       {{"id", "<sep>"}, {"ids", Json::array({sep.id})}, {"tokens", Json::array({"<sep>"})}}},
      {"<cls>",
       {{"id", "<cls>"}, {"ids", Json::array({cls.id})}, {"tokens", Json::array({"<cls>"})}}}};
  out.post_processor = {
      {"type", "TemplateProcessing"},
      {"single", Json::array({sequence("A", 0), special("<sep>", 0), special("<cls>", 2)})},
      {"pair", Json::array({sequence("A", 0), special("<sep>", 0), sequence("B", 1),
                            special("<sep>", 1), special("<cls>", 2)})},
      {"special_tokens", tokens}};
}

Json unigram_model(const SentencePieceModel& model) {
  Json vocab = Json::array();
  for (const Piece& p : model.pieces)
    vocab.push_back(Json::array({p.text, static_cast<double>(p.score)}));
  return {{"type", "Unigram"},
          {"unk_id", model.unk},
          {"vocab", std::move(vocab)},
          {"byte_fallback", model.byte_fallback}};
}

Json bpe(const SentencePieceModel& model, const std::string& source) {
  const auto unk = name_at(model.pieces, model.unk);
  Json out = bpe_model(unk ? std::optional(unk->text) : std::nullopt, model.byte_fallback, false);
  Json vocab = Json::object(), merges = Json::array();
  std::unordered_map<std::string_view, size_t> seen;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const std::string& text = model.pieces[i].text;
    if (!seen.emplace(text, i).second)
      throw FileError(Code::duplicate, source,
                      "piece " + quote(text) + " has the ids " + std::to_string(seen[text]) +
                          " and " + std::to_string(i));
    append(vocab, text, i);
  }
  for (const Merge& m : all_merges(model.pieces, source))
    merges.push_back(Json::array({model.pieces[static_cast<size_t>(m.left)].text,
                                  model.pieces[static_cast<size_t>(m.right)].text}));
  out["vocab"] = std::move(vocab);
  out["merges"] = std::move(merges);
  return out;
}

}  // namespace

Tokenizer tokenizer_from_sentencepiece(const SentencePieceModel& model, const std::string& source,
                                       TokenizerConfig config, const Limits& limits) {
  const auto& pieces = model.pieces;
  if (pieces.empty()) throw FileError(Code::value, source, "a vocabulary without pieces");
  if (!name_at(pieces, model.unk))
    throw FileError(Code::value, source,
                    "the unknown piece has id " + std::to_string(model.unk) + " of " +
                        std::to_string(pieces.size()));
  TokenizerJson out;
  bool user_defined = false;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& p = pieces[i];
    const bool special = p.type == PieceType::control || p.type == PieceType::unknown;
    user_defined |= p.type == PieceType::user_defined;
    if (special || p.type == PieceType::user_defined)
      out.add_token(static_cast<int32_t>(i), p.text, special);
  }
  out.model =
      model.kind == SentencePieceModel::Kind::bpe ? bpe(model, source) : unigram_model(model);
  // Tokens that a configuration put behind the file's pieces.
  for (const ConfigToken& token : config.added) {
    if (has(pieces, token.content)) continue;
    out.add_token(token.id, token.content, token.special, token.lstrip);
    if (model.kind == SentencePieceModel::Kind::bpe)
      append(out.model["vocab"], token.content, token.id);
  }

  Json steps = Json::array();
  if (!model.charsmap.empty())
    steps.push_back({{"type", "Precompiled"}, {"precompiled_charsmap", to_base64(model.charsmap)}});
  const bool xlnet = config.tokenizer_class.starts_with("XLNet") ||
                     (config.tokenizer_class.empty() && has(pieces, "<sep>") &&
                      has(pieces, "<cls>") && has(pieces, "<eop>"));
  if (xlnet && has(pieces, "<sep>") && has(pieces, "<cls>")) {
    like_xlnet(out, std::move(steps), pieces);
    for (const auto& [slot, text] :
         std::initializer_list<std::pair<std::optional<std::string>*, const char*>>{
             {&config.bos, "<s>"},
             {&config.eos, "</s>"},
             {&config.sep, "<sep>"},
             {&config.cls, "<cls>"},
             {&config.pad, "<pad>"},
             {&config.mask, "<mask>"}})
      if (!*slot) *slot = text;
    return Tokenizer::from_root(out.take(), source, config, limits);
  }

  if (model.remove_extra_whitespaces) {
    steps.push_back(replace({{"Regex", "^ +| +$"}}, ""));
    steps.push_back(replace({{"Regex", " {2,}"}}, " "));
  }
  // A prefix for each stretch between special tokens, as LLaMA does it; where user-defined pieces
  // cut the text as well, only its very beginning has one.
  const bool prefix_once = model.add_dummy_prefix && user_defined;
  if (model.add_dummy_prefix && !prefix_once)
    steps.push_back({{"type", "Prepend"}, {"prepend", kSpace}});
  if (model.escape_whitespaces) steps.push_back(replace({{"String", " "}}, kSpace));
  if (!steps.empty()) out.normalizer = {{"type", "Sequence"}, {"normalizers", std::move(steps)}};
  if (prefix_once)
    out.pre_tokenizer = {{"type", "Metaspace"},
                         {"replacement", kSpace},
                         {"prepend_scheme", "first"},
                         {"split", false}};

  Json decoders = Json::array({replace({{"String", kSpace}}, " ")});
  if (model.byte_fallback) decoders.push_back({{"type", "ByteFallback"}});
  decoders.push_back({{"type", "Fuse"}});
  if (model.add_dummy_prefix)
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  out.decoder = {{"type", "Sequence"}, {"decoders", std::move(decoders)}};

  const auto fill = [&](std::optional<std::string>& slot, int32_t id) {
    if (const auto name = name_at(pieces, id); !slot && name) slot = name->text;
  };
  fill(config.unk, model.unk);
  fill(config.bos, model.bos);
  fill(config.eos, model.eos);
  fill(config.pad, model.pad);
  // Models of the LLaMA line begin with BOS; Unigram models without one (T5) end with EOS.
  const auto bos = name_of(pieces, config.bos), eos = name_of(pieces, config.eos);
  const bool is_bpe = model.kind == SentencePieceModel::Kind::bpe;
  const bool add_bos = config.add_bos.value_or(is_bpe && bos),
             add_eos = config.add_eos.value_or(!is_bpe && !bos && eos);
  config.add_bos = config.add_eos = std::nullopt;
  out.post_processor =
      bos_eos_processor(add_bos ? bos : std::nullopt, add_eos ? eos : std::nullopt);
  return Tokenizer::from_root(out.take(), source, config, limits);
}

}  // namespace halftone::text
