// Hostile and damaged tokenizers and templates: one clear line, the right code, no crash.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "halftone/base/json.h"
#include "halftone/text/base64.h"
#include "halftone/text/chat_template.h"
#include "halftone/text/gguf_tokenizer.h"
#include "halftone/text/pre_tokenizers.h"
#include "halftone/text/sentencepiece.h"
#include "halftone/text/test_text.h"
#include "halftone/text/tokenizer.h"
#include "halftone/text/vocabulary_files.h"

namespace halftone::text {
namespace {

Json small() {
  return Json::parse(R"({"version":"1.0","truncation":null,"padding":null,
    "added_tokens":[{"id":4,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
    "normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,
    "model":{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,"fuse_unk":false,
             "byte_fallback":false,"vocab":{"a":0,"b":1,"ab":2,"c":3},"merges":["a b"]}})");
}

std::string line_of(const std::string& text) {
  return error_line([&] { Tokenizer::from_json(text, "t.json"); });
}
// The error after `change` was done to a good file.
std::string after(const std::function<void(Json&)>& change) {
  Json root = small();
  change(root);
  return line_of(root.dump());
}
Json replace(const char* from, const std::string& to) {
  return {{"type", "Replace"}, {"pattern", {{"String", from}}}, {"content", to}};
}
Json split(const std::string& regex) {
  return {{"type", "Split"},
          {"pattern", {{"Regex", regex}}},
          {"behavior", "Isolated"},
          {"invert", false}};
}

TEST(MalformedTokenizer, TheGoodFileIsGood) {
  EXPECT_EQ(line_of(small().dump()), "no error");
  const Tokenizer t = Tokenizer::from_json(small().dump(), "t.json");
  EXPECT_EQ(t.encode("abc<s>"), (std::vector<int32_t>{2, 3, 4}));
}

TEST(MalformedTokenizer, Shape) {
  const std::string good = small().dump();
  EXPECT_EQ(line_of("").substr(0, 22), "error[E_JSON] t.json: ");
  EXPECT_EQ(line_of(good.substr(0, good.size() / 2)).substr(0, 22), "error[E_JSON] t.json: ");
  EXPECT_EQ(line_of(std::string(100'000, '[')),
            "error[E_DEPTH] t.json: JSON nested deeper than 64");
  EXPECT_EQ(line_of("[]"), "error[E_TYPE] t.json: tokenizer.json is not an object");
  EXPECT_EQ(line_of("{}"), "error[E_MISSING] t.json: there is no \"model\"");
  EXPECT_EQ(after([](Json& j) { j["model"] = 7; }),
            "error[E_TYPE] t.json: \"model\" is not an object");
  EXPECT_EQ(after([](Json& j) { j["model"]["type"] = "Neural"; }),
            "error[E_UNSUPPORTED] t.json: model \"Neural\" is not known; known: BPE, Unigram, "
            "WordLevel, WordPiece");
  EXPECT_EQ(after([](Json& j) { j["version"] = "9"; }),
            "error[E_VALUE] t.json: not a usable tokenizer: \"Unknown tokenizer version '9' at "
            "line 1 column 14\"");
}

TEST(MalformedTokenizer, Ids) {
  const auto id = [](const Json& value) {
    return after([&](Json& j) { j["model"]["vocab"]["c"] = value; });
  };
  EXPECT_EQ(id(-1), "error[E_VALUE] t.json: token \"c\" id is negative");
  EXPECT_EQ(id(4294967296),
            "error[E_LIMIT] t.json: token \"c\" id 4294967296 is more than 4194303");
  EXPECT_EQ(id(2147483647),
            "error[E_LIMIT] t.json: token \"c\" id 2147483647 is more than 4194303");
  EXPECT_EQ(id(1.5), "error[E_TYPE] t.json: token \"c\" id is not a whole number");
  EXPECT_EQ(id("3"), "error[E_TYPE] t.json: token \"c\" id is not a whole number");
  EXPECT_EQ(id(1), "error[E_DUP] t.json: id 1 belongs to two tokens, one is \"c\"");
  EXPECT_EQ(id(4'000'000), "error[E_VALUE] t.json: id 4000000 in a vocabulary of 5 tokens");
  EXPECT_EQ(after([](Json& j) { j["model"]["vocab"] = Json::array(); }),
            "error[E_TYPE] t.json: the vocabulary is not an object of token: id");
  EXPECT_EQ(after([](Json& j) { j["model"]["vocab"] = Json::object(); }),
            "error[E_VALUE] t.json: the vocabulary is empty");
  EXPECT_EQ(error_line([] {
              Tokenizer::from_json(small().dump(), "t.json").check_fits(4, "model.safetensors");
            }),
            "error[E_MISMATCH] model.safetensors: the tokenizer has ids up to 4 (\"<s>\") but the "
            "embedding has 4 rows; use the tokenizer that belongs to this model");
  EXPECT_EQ(error_line([] {
              Tokenizer::from_json(small().dump(), "t.json").check_fits(5, "model.safetensors");
            }),
            "no error");
  std::string twice = small().dump();
  twice.replace(twice.find("\"c\":3"), 5, "\"a\":3");
  EXPECT_EQ(line_of(twice), "error[E_DUP] t.json: key \"a\" appears twice");
}

TEST(MalformedTokenizer, Merges) {
  const auto merge = [](const Json& value) {
    return after([&](Json& j) { j["model"]["merges"] = Json::array({value}); });
  };
  EXPECT_EQ(merge("a x"),
            "error[E_VALUE] t.json: merge 0 speaks of \"x\", which is not in the vocabulary");
  EXPECT_EQ(merge("b c"),
            "error[E_VALUE] t.json: merge 0 makes \"bc\", which is not in the vocabulary");
  EXPECT_EQ(merge("ab"), "error[E_VALUE] t.json: merge 0 \"ab\" is not two tokens");
  EXPECT_EQ(merge("a b c"), "error[E_VALUE] t.json: merge 0 \"a b c\" is not two tokens");
  EXPECT_EQ(merge(7), "error[E_TYPE] t.json: merge 0 is neither text nor a pair of texts");
  EXPECT_EQ(merge(Json::array({"a"})), "error[E_VALUE] t.json: merge 0 is not two tokens");
  EXPECT_EQ(merge(Json::array({"a", 1})),
            "error[E_TYPE] t.json: merge 0 is neither text nor a pair of texts");
  EXPECT_EQ(after([](Json& j) { j["model"]["continuing_subword_prefix"] = "####"; }),
            "error[E_VALUE] t.json: merge 0: \"b\" is shorter than the subword prefix \"####\"");
  EXPECT_EQ(after([](Json& j) { j["model"]["merges"] = "a b"; }),
            "error[E_TYPE] t.json: \"merges\" is not a list");
  EXPECT_EQ(after([](Json& j) { j["model"]["dropout"] = 0.1; }),
            "error[E_VALUE] t.json: BPE dropout would make the ids random");
}

TEST(MalformedTokenizer, AddedTokens) {
  const auto added = [](const char* key, const Json& value) {
    return after([&](Json& j) { j["added_tokens"][0][key] = value; });
  };
  EXPECT_EQ(added("content", ""), "error[E_VALUE] t.json: an added token is empty");
  EXPECT_EQ(added("id", 1'000'000'000),
            "error[E_LIMIT] t.json: added token \"<s>\" id 1000000000 is more than 4194303");
  EXPECT_EQ(added("id", 9),
            "error[E_MISMATCH] t.json: added token \"<s>\" has id 9 but would be given 4");
  EXPECT_EQ(added("id", 1),
            "error[E_DUP] t.json: id 1 belongs to \"b\" and to the added token \"<s>\"");
  EXPECT_EQ(added("content", "a"),
            "error[E_MISMATCH] t.json: added token \"a\" has id 4 here and 0 in the vocabulary");
  EXPECT_EQ(added("special", "yes"),
            "error[E_TYPE] t.json: added token \"<s>\" \"special\" is not true or false");
}

TEST(MalformedTokenizer, Patterns) {
  const auto cut = [](const std::string& regex) {
    return after([&](Json& j) { j["pre_tokenizer"] = split(regex); });
  };
  EXPECT_EQ(cut("(a"),
            "error[E_VALUE] t.json: not a usable tokenizer: \"Parsing error at position 2: Opening "
            "parenthesis without closing parenthesis at line 1 column 288\"");
  EXPECT_EQ(cut("(a+)+$"),
            "error[E_VALUE] t.json: pre-tokenizer Split pattern \"(a+)+$\" repeats a repetition "
            "without bound");
  EXPECT_EQ(cut("((a*)b?)*(?!c)"),
            "error[E_VALUE] t.json: pre-tokenizer Split pattern \"((a*)b?)*(?!c)\" repeats a "
            "repetition without bound");
  EXPECT_EQ(
      cut("(a)\\1"),
      "error[E_VALUE] t.json: pre-tokenizer Split pattern \"(a)\\\\1\" uses a back-reference");
  EXPECT_EQ(cut("a{1,100000}"),
            "error[E_VALUE] t.json: pre-tokenizer Split pattern \"a{1,100000}\" repeats more than "
            "256 times by count");
  EXPECT_EQ(cut("((a{50}){50}){50}"),
            "error[E_VALUE] t.json: pre-tokenizer Split pattern \"((a{50}){50}){50}\" repeats more "
            "than 256 times by count");
  EXPECT_EQ(cut(std::string(100, '(') + "a" + std::string(100, ')')).substr(0, 58),
            "error[E_VALUE] t.json: pre-tokenizer Split pattern \"((((((");
  EXPECT_EQ(cut(std::string(9000, 'a')),
            "error[E_LIMIT] t.json: pre-tokenizer Split pattern is longer than 8192 bytes");
  for (const std::string& name : pre_tokenizer_names())
    EXPECT_EQ(after([&](Json& j) { j["pre_tokenizer"] = pre_tokenizer(name, "t").pre_tokenizer; }),
              "no error")
        << name;
}

TEST(MalformedTokenizer, Steps) {
  EXPECT_EQ(after([](Json& j) {
              j["normalizer"] = {{"type", "Magic"}};
            }),
            "error[E_UNSUPPORTED] t.json: normalizer \"Magic\" is not known; known: "
            "BertNormalizer, ByteLevel, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, "
            "Prepend, Replace, Sequence, Strip, StripAccents");
  EXPECT_EQ(after([](Json& j) {
              j["pre_tokenizer"] = {{"type", "Sequence"},
                                    {"pretokenizers", Json::array({{{"type", "Guess"}}})}};
            }).substr(0, 70),
            "error[E_UNSUPPORTED] t.json: pre-tokenizer \"Guess\" is not known; known");
  Json steps = Json::array();
  for (int i = 0; i < 12; ++i) steps.push_back(replace("a", "aaaaaaaaaa"));
  EXPECT_EQ(after([&](Json& j) {
              j["normalizer"] = {{"type", "Sequence"}, {"normalizers", steps}};
            }),
            "error[E_LIMIT] t.json: normalizing may turn one byte into more than 1024");
  EXPECT_EQ(after([&](Json& j) {
              j["normalizer"] = {{"type", "FixedLength"}};
            }).substr(0, 20),
            "error[E_UNSUPPORTED]");
  EXPECT_EQ(after([](Json& j) {
              j["pre_tokenizer"] = {{"type", "FixedLength"}, {"length", 0}};
            }),
            "error[E_VALUE] t.json: pre-tokenizer FixedLength length is 0");
  EXPECT_EQ(after([](Json& j) { j["decoder"] = 3; }),
            "error[E_TYPE] t.json: decoder is not an object");
  EXPECT_EQ(
      after([](Json& j) {
        j["truncation"] = {
            {"max_length", 8}, {"stride", 8}, {"strategy", "LongestFirst"}, {"direction", "Right"}};
      }),
      "error[E_VALUE] t.json: truncation stride 8 is not below max_length 8");
}

TEST(MalformedTokenizer, Charsmap) {
  const auto map = [](const std::string& base64) {
    return after([&](Json& j) {
      j["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", base64}};
    });
  };
  EXPECT_EQ(map("!!!"), "error[E_VALUE] t.json: precompiled_charsmap is not base64");
  EXPECT_EQ(map(to_base64("ab")),
            "error[E_TRUNC] t.json: precompiled_charsmap ends inside its header");
  EXPECT_EQ(map(to_base64(std::string("\xFF\xFF\xFF\x7F....", 8))),
            "error[E_VALUE] t.json: precompiled_charsmap has a trie of 2147483647 bytes");
  EXPECT_EQ(map(to_base64(std::string("\x00\x00\x00\x70....", 8))),
            "error[E_TRUNC] t.json: precompiled_charsmap ends inside its trie");
  // Junk of every length and many seeds: refused or harmless, never a crash.
  uint32_t seed = 1;
  for (int i = 0; i < 200; ++i) {
    const uint32_t units = 1 + static_cast<uint32_t>(i) % 40 * 16;
    std::string bytes(4 + units * 4 + 64, '\0');
    for (char& c : bytes) c = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 25);
    for (int k = 0; k < 4; ++k)
      bytes[static_cast<size_t>(k)] = static_cast<char>(units * 4 >> (8 * k));
    const std::string line = map(to_base64(bytes));
    EXPECT_TRUE(line == "no error" ||
                line.starts_with("error[E_VALUE] t.json: precompiled_charsmap"))
        << line;
  }
}

TEST(MalformedTokenizer, PostProcessor) {
  const Json good = Json::parse(
      R"({"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
    "pair":[{"Sequence":{"id":"A","type_id":0}},{"Sequence":{"id":"B","type_id":1}}],"special_tokens":{"<s>":{"id":"<s>","ids":[4],"tokens":["<s>"]}}})");
  const auto with = [&](const std::function<void(Json&)>& change) {
    Json p = good;
    change(p);
    return after([&](Json& j) { j["post_processor"] = p; });
  };
  EXPECT_EQ(with([](Json&) {}), "no error");
  EXPECT_EQ(with([](Json& p) { p["special_tokens"]["<s>"]["tokens"][0] = "<x>"; }),
            "error[E_VALUE] t.json: post-processor TemplateProcessing adds \"<x>\", which is not a "
            "token");
  EXPECT_EQ(with([](Json& p) { p["special_tokens"]["<s>"]["ids"][0] = 3; }),
            "error[E_MISMATCH] t.json: post-processor TemplateProcessing gives \"<s>\" the id 3, "
            "the vocabulary 4");
  EXPECT_EQ(
      with([](Json& p) {
        p["special_tokens"]["<s>"]["ids"] = Json::array({4, 4});
      }),
      "error[E_MISMATCH] t.json: post-processor TemplateProcessing \"<s>\" has 2 ids for 1 tokens");
  EXPECT_EQ(
      with([](Json& p) { p["special_tokens"] = Json::object(); }),
      "error[E_VALUE] t.json: post-processor TemplateProcessing uses \"<s>\" without defining it");
  EXPECT_EQ(with([](Json& p) { p["type"] = "Whatever"; }).substr(0, 63),
            "error[E_UNSUPPORTED] t.json: post-processor \"Whatever\" is not k");
}

TEST(MalformedTokenizer, Unigram) {
  const auto model = [](const char* text) {
    return after([&](Json& j) {
      j["model"] = Json::parse(text);
      j["added_tokens"] = Json::array();
    });
  };
  EXPECT_EQ(model(R"({"type":"Unigram","unk_id":0,"vocab":[["<unk>",0],["a",-1.5]]})"), "no error");
  EXPECT_EQ(model(R"({"type":"Unigram","unk_id":2,"vocab":[["<unk>",0],["a",-1.5]]})"),
            "error[E_VALUE] t.json: unk_id 2 is past the 2 tokens");
  EXPECT_EQ(model(R"({"type":"Unigram","unk_id":-1,"vocab":[["<unk>",0]]})"),
            "error[E_VALUE] t.json: unk_id is negative");
  EXPECT_EQ(model(R"({"type":"Unigram","unk_id":0,"vocab":[]})"),
            "error[E_VALUE] t.json: the vocabulary is empty");
  EXPECT_EQ(model(R"({"type":"Unigram","unk_id":0,"vocab":[["a"]]})"),
            "error[E_TYPE] t.json: Unigram entry 0 is not [token, score]");
  EXPECT_EQ(model(R"({"type":"WordPiece","unk_token":"?","vocab":{"a":0}})"),
            "error[E_VALUE] t.json: unk_token \"?\" is not in the vocabulary");
}

TEST(MalformedTokenizer, PaddingAndTruncationAreSwitchedOff) {
  Json root = small();
  root["padding"] = {{"strategy", {{"Fixed", 128}}},
                     {"direction", "Right"},
                     {"pad_to_multiple_of", nullptr},
                     {"pad_id", 0},
                     {"pad_type_id", 0},
                     {"pad_token", "a"}};
  root["truncation"] = {
      {"max_length", 2}, {"stride", 0}, {"strategy", "LongestFirst"}, {"direction", "Right"}};
  EXPECT_EQ(Tokenizer::from_json(root.dump(), "t.json").encode("cccc"),
            (std::vector<int32_t>{3, 3, 3, 3}));
}

TEST(MalformedTokenizer, TextIsBounded) {
  const Limits limits{.encode_bytes = 10, .encode_tokens = 4};
  const Tokenizer t = Tokenizer::from_json(small().dump(), "t.json", {}, limits);
  EXPECT_EQ(error_line([&] { t.encode("ccccccccccc"); }),
            "error[E_LIMIT] t.json: a text of 11 bytes is longer than 10; split it into documents");
  EXPECT_EQ(error_line([&] { t.encode("ccccc"); }),
            "error[E_LIMIT] t.json: a text became more than 4 tokens");
  EXPECT_EQ(error_line([&] { t.encode("\xC3"); }),
            "error[E_UTF8] t.json: the text to encode is not UTF-8");
  EXPECT_EQ(t.encode("cccc"), (std::vector<int32_t>{3, 3, 3, 3}));
  EXPECT_EQ(t.decode(std::vector<int32_t>{3, -1, 99, INT32_MAX, 0}), "c a");
}

TEST(MalformedTokenizer, GgufMetadata) {
  GgufTokenizer g{.model = "gpt2", .pre = "gpt-2", .tokens = {"a", "b", "ab"}, .merges = {"a b"}};
  const auto line = [](const GgufTokenizer& x) {
    return error_line([&] { tokenizer_from_gguf(x, "m.gguf"); });
  };
  const auto with = [&](const std::function<void(GgufTokenizer&)>& change) {
    GgufTokenizer x = g;
    change(x);
    return line(x);
  };
  EXPECT_EQ(line(g), "no error");
  EXPECT_EQ(with([](auto& x) { x.tokens.clear(); }),
            "error[E_MISSING] m.gguf: has no tokens: tokenizer.ggml.tokens is absent or empty");
  EXPECT_EQ(with([](auto& x) { x.model = ""; }),
            "error[E_MISSING] m.gguf: has no tokenizer: tokenizer.ggml.model is absent");
  EXPECT_EQ(with([](auto& x) { x.model = "rwkv"; }),
            "error[E_UNSUPPORTED] m.gguf: tokenizer kind \"rwkv\" is not known; known: gpt2, "
            "llama, t5, bert; or a file with tokenizer.huggingface.json");
  EXPECT_EQ(with([](auto& x) { x.types = {1}; }),
            "error[E_MISMATCH] m.gguf: tokenizer.ggml.token_type has 1 entries for 3 tokens");
  EXPECT_EQ(with([](auto& x) {
              x.scores = {1, 2};
            }),
            "error[E_MISMATCH] m.gguf: tokenizer.ggml.scores has 2 entries for 3 tokens");
  EXPECT_EQ(with([](auto& x) { x.eos = 3; }),
            "error[E_VALUE] m.gguf: tokenizer.ggml.eos_token_id 3 is not one of the 3 tokens");
  EXPECT_EQ(with([](auto& x) { x.merges = {"ab"}; }),
            "error[E_VALUE] m.gguf: merge \"ab\" is not two tokens");
  EXPECT_EQ(with([](auto& x) { x.tokens[1] = "a"; }),
            "error[E_DUP] m.gguf: token \"a\" appears twice in tokenizer.ggml.tokens");
  EXPECT_EQ(with([](auto& x) { x.tokens[1] = "\xFF"; }),
            "error[E_UTF8] m.gguf: token 1 is not UTF-8");
  EXPECT_EQ(
      with([](auto& x) { x.model = "llama"; }),
      "error[E_MISSING] m.gguf: tokenizer.ggml.scores is absent: a llama tokenizer needs them");
  EXPECT_EQ(with([](auto& x) {
              x.model = "llama";
              x.scores = {0, NAN, 0};
            }),
            "error[E_NONFINITE] m.gguf: the score of token 1 is not finite");
  EXPECT_EQ(with([](auto& x) { x.huggingface_json = "{"; }).substr(0, 49),
            "error[E_JSON] m.gguf: tokenizer.huggingface.json:");
  EXPECT_EQ(with([](auto& x) { x.huggingface_json = small().dump(); }), "no error");
}

TEST(MalformedTokenizer, SentencePieceFiles) {
  const auto line = [](std::string bytes) {
    return error_line([&] { read_sentencepiece(std::as_bytes(std::span(bytes)), "t.model", {}); });
  };
  EXPECT_EQ(line(""), "error[E_VALUE] t.model: a SentencePiece model without pieces (at byte 0)");
  EXPECT_EQ(line("\x0A\x05\x0A\x01"
                 "a")
                .substr(0, 24),
            "error[E_TRUNC] t.model: ");
  EXPECT_EQ(line(std::string("\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 12)).substr(0, 22),
            "error[E_VALUE] t.model");
  EXPECT_EQ(line("\x0B"), "error[E_VALUE] t.model: protobuf wire type 3 is not known (at byte 1)");
  EXPECT_EQ(line("\x0A\x03\x0A\x01\xFF").substr(0, 36), "error[E_UTF8] t.model: a piece is no");
  EXPECT_EQ(line(std::string("\x0A\x00", 2)),
            "error[E_VALUE] t.model: a piece is empty (at byte 2)");
  EXPECT_EQ(line("\x0A\x03\x0A\x01"
                 "a\x12\x02\x18\x03"),
            "error[E_UNSUPPORTED] t.model: SentencePiece model type 3 is neither unigram nor BPE; "
            "use a model with tokenizer.json");
}

TEST(MalformedTokenizer, VocabularyFiles) {
  const auto ranks = [](const char* text) {
    return error_line([&] { tokenizer_from_tiktoken(text, "gpt-2", "t.tiktoken", {}, {}); });
  };
  EXPECT_EQ(ranks("YQ== 0\nYg== 1\nYWI= 2\n"), "no error");
  EXPECT_EQ(ranks("YQ== 0\r\nYg== x\r\n"),
            "error[E_VALUE] t.tiktoken: line 2 is not \"base64 rank\"");
  EXPECT_EQ(ranks("YQ== 0\nYQ== 1\n"),
            "error[E_DUP] t.tiktoken: line 2 has a token that was there before");
  EXPECT_EQ(ranks("YQ== 0\nYg== 99999999\n"),
            "error[E_LIMIT] t.tiktoken: line 2 has a rank of 99999999");
  EXPECT_EQ(ranks(""), "error[E_VALUE] t.tiktoken: has no tokens");
  const auto words = [](const char* text) {
    return error_line([&] { tokenizer_from_vocab_txt(text, "vocab.txt", {}, {}); });
  };
  EXPECT_EQ(words("[UNK]\na\n##b\n"), "no error");
  EXPECT_EQ(words("a\nb\n"),
            "error[E_MISSING] vocab.txt: there is no unknown token: neither [UNK] nor one named by "
            "the configuration");
  EXPECT_EQ(words("[UNK]\na\na\n"), "error[E_DUP] vocab.txt: token \"a\" appears twice");
  EXPECT_EQ(words("[UNK]\na\xC0\n"), "error[E_UTF8] vocab.txt: token \"a\\xc0\" is not UTF-8");
  const auto merges = [](const char* text) {
    return error_line([&] {
      tokenizer_from_bpe_files(R"({"a":0,"b":1,"ab":2})", text, "gpt-2", "vocab.json", {}, {});
    });
  };
  EXPECT_EQ(merges("#version: 0.2\na b\n"), "no error");
  EXPECT_EQ(merges("a\n"), "error[E_VALUE] vocab.json: merge \"a\" is not two tokens");
  EXPECT_EQ(merges("a b c\n"), "error[E_VALUE] vocab.json: merge \"a b c\" is not two tokens");
  EXPECT_EQ(merges("a \xff\n"), "error[E_UTF8] vocab.json: merge \"a \\xff\" is not UTF-8");
  EXPECT_EQ(merges("a c\n").substr(0, 26), "error[E_VALUE] vocab.json:");
}

}  // namespace
}  // namespace halftone::text
