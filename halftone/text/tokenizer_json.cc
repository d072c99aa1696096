#include "halftone/text/tokenizer_json.h"

namespace halftone::text {
namespace {

Json special_piece(const TokenName& token, int type) {
  return {{"SpecialToken", {{"id", token.text}, {"type_id", type}}}};
}
Json sequence_piece(const char* name, int type) {
  return {{"Sequence", {{"id", name}, {"type_id", type}}}};
}

Json template_processor(Json single, Json pair, const std::vector<TokenName>& tokens) {
  Json table = Json::object();
  for (const TokenName& t : tokens)
    table[t.text] = {
        {"id", t.text}, {"ids", Json::array({t.id})}, {"tokens", Json::array({t.text})}};
  return {{"type", "TemplateProcessing"},
          {"single", std::move(single)},
          {"pair", std::move(pair)},
          {"special_tokens", std::move(table)}};
}

}  // namespace

void TokenizerJson::add_token(int32_t id, std::string_view content, bool special, bool lstrip) {
  added.push_back({{"id", id},
                   {"content", std::string(content)},
                   {"single_word", false},
                   {"lstrip", lstrip},
                   {"rstrip", false},
                   {"normalized", false},
                   {"special", special}});
}

Json TokenizerJson::take() {
  Json root = {{"version", "1.0"}, {"truncation", nullptr}, {"padding", nullptr}};
  for (auto& [name, part] :
       std::initializer_list<std::pair<const char*, Json*>>{{"added_tokens", &added},
                                                            {"normalizer", &normalizer},
                                                            {"pre_tokenizer", &pre_tokenizer},
                                                            {"post_processor", &post_processor},
                                                            {"decoder", &decoder},
                                                            {"model", &model}})
    append(root, name, std::move(*part));
  return root;
}

void append(Json& object, std::string key, Json value) {
  auto& members = object.get_ref<Json::object_t&>();
  members.push_back(Json::object_t::value_type(std::move(key), std::move(value)));
}

Json bpe_model(const std::optional<std::string>& unk, bool byte_fallback, bool ignore_merges) {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", unk ? Json(*unk) : Json(nullptr)},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", unk.has_value()},
          {"byte_fallback", byte_fallback},
          {"ignore_merges", ignore_merges}};
}

Json byte_level_decoder() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", true},
          {"trim_offsets", true},
          {"use_regex", true}};
}

Json bos_eos_processor(const std::optional<TokenName>& bos, const std::optional<TokenName>& eos) {
  std::vector<TokenName> tokens;
  if (bos) tokens.push_back(*bos);
  if (eos && (!bos || bos->text != eos->text)) tokens.push_back(*eos);
  Json single = Json::array(), pair = Json::array();
  const auto add = [&](Json& list, const char* name, int type) {
    if (bos) list.push_back(special_piece(*bos, type));
    list.push_back(sequence_piece(name, type));
    if (eos) list.push_back(special_piece(*eos, type));
  };
  add(single, "A", 0);
  add(pair, "A", 0);
  add(pair, "B", 1);
  return template_processor(std::move(single), std::move(pair), tokens);
}

Json bert_processor(const TokenName& cls, const TokenName& sep) {
  const Json single =
      Json::array({special_piece(cls, 0), sequence_piece("A", 0), special_piece(sep, 0)});
  Json pair = single;
  pair.push_back(sequence_piece("B", 1));
  pair.push_back(special_piece(sep, 1));
  return template_processor(single, std::move(pair), {cls, sep});
}

Json roberta_processor(const TokenName& cls, const TokenName& sep) {
  return {{"type", "RobertaProcessing"},
          {"sep", Json::array({sep.text, sep.id})},
          {"cls", Json::array({cls.text, cls.id})},
          {"trim_offsets", true},
          {"add_prefix_space", false}};
}

}  // namespace halftone::text
