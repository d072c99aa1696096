// BPE files read straight into tables: the ids of the crate's own model, and nothing else let in.
#include "halftone/text/bpe_tables.h"

#include <gtest/gtest.h>

#include <functional>

#include "halftone/base/json.h"
#include "halftone/base/rng.h"
#include "halftone/text/load.h"
#include "halftone/text/test_text.h"
#include "halftone/text/tokenizer.h"

namespace halftone::text {
namespace {

const std::string kSmall =
    R"({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "\"": 1, "\u0062\/": 3, )"
    R"("a\"": 2, "\u00e9": 4}, "merges": ["a \""], "dropout": null}, "added_tokens": []})";

TEST(BpeTables, HoldTokensMergesAndTheRest) {
  const auto tables = read_bpe_tables(kSmall, {});
  ASSERT_TRUE(tables.has_value());
  EXPECT_EQ(tables->tokens.size(), 5);
  EXPECT_EQ(tables->tokens[2], "a\"");
  EXPECT_EQ(tables->tokens[3], "b/");
  EXPECT_EQ(tables->tokens[4], "\u00e9");
  EXPECT_EQ(tables->tokens.find("\""), 1);
  EXPECT_EQ(tables->tokens.find("b"), std::nullopt);
  EXPECT_EQ(tables->merges, (std::vector<uint32_t>{0, 1, 2}));
  EXPECT_EQ(tables->rest,
            R"({"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": [], )"
            R"("dropout": null}, "added_tokens": []})");
}

TEST(BpeTables, MergesMayStandBeforeTheVocabularyAndAsPairs) {
  const auto tables = read_bpe_tables(
      R"({"model":{"merges":[["a","b c"],["a","d"]],"vocab":{"a":0,"b c":1,"d":2,"ad":3,"ab c":4}}})",
      {});
  ASSERT_TRUE(tables.has_value());
  EXPECT_EQ(tables->merges, (std::vector<uint32_t>{0, 1, 4, 0, 2, 3}));
  EXPECT_EQ(tables->rest, R"({"model":{"merges":[],"vocab":{}}})");
}

TEST(BpeTables, NothingOddIsLetIn) {
  const auto odd = [](std::string_view from, std::string_view to) {
    std::string text = kSmall;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    if (at != std::string::npos) text.replace(at, from.size(), to);
    return !read_bpe_tables(text, {}).has_value();
  };
  EXPECT_FALSE(odd("a", "a"));
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{
           {": 3", ": 2"},    // an id twice
           {"\\u00e9", "a"},  // a token twice
           {"\\u00e9", ""},   // an empty token
           {": 4", ": -4"},
           {": 4", ": 04"},
           {": 4", ": 4.0"},
           {": 4", ": 40000000"},
           {": 4", ": \"4\""},
           {": 4", ": 100000"},    // far beyond the number of tokens
           {"[\"a ", "[\"b "},     // a merge of an unknown token
           {"a \\\"\"]", "a\"]"},  // of one
           {"a \\\"\"]", "a a a\"]"},
           {"a \\\"\"]", "\\\" a\"]"},  // that makes no token
           {"a \\\"\"]", "a \\\"\", [\"a\", \"a\"]]"},
           {"[\"a", "[\"#version: 0.2\", \"a"},
           {"\\u00e9", "\\ud83d\\ude00"},
           {"\\u00e9", "\\u00g9"},
           {"\\u00e9", "\\x"},
           {"\\u00e9", "\x01"},
           {"\\u00e9", "\xff"},
           {"\"merges\"", "\"vocab\""},
           {"\"merges\"", "\"merge\""},
           {"\"model\"", "\"m\""},
           {"\"added_tokens\": []}", "\"added_tokens\": []} x"},
           {"\"added_tokens\": []}", "\"model\": {\"vocab\": {}}}"},
           {"\"added_tokens\": []}", "\"added_tokens\": ["},
       })
    EXPECT_TRUE(odd(from, to)) << from << " -> " << to;
  for (size_t n = 0; n < kSmall.size(); ++n)
    EXPECT_FALSE(read_bpe_tables(std::string_view(kSmall).substr(0, n), {}).has_value()) << n;
  EXPECT_FALSE(read_bpe_tables(std::string(100'000, '['), {}).has_value());
  EXPECT_FALSE(read_bpe_tables(R"({"x":)" + std::string(100'000, '[') + "," + kSmall.substr(1), {})
                   .has_value());
}

// The same file with an empty subword mark, which means nothing, goes the long way.
Tokenizer the_long_way(const std::string& json) {
  Json root = parse_json(json, "t.json");
  root["model"]["continuing_subword_prefix"] = "";
  return Tokenizer::from_json(root.dump(), "t.json");
}

void expect_equal(const std::string& json) {
  const Tokenizer flat = Tokenizer::from_json(json, "t.json"), whole = the_long_way(json);
  ASSERT_EQ(flat.vocab_size(), whole.vocab_size());
  for (int32_t id = 0; id < flat.vocab_size(); ++id) {
    ASSERT_EQ(flat.token(id), whole.token(id));
    ASSERT_EQ(flat.id_of(flat.token(id)), whole.id_of(flat.token(id)));
  }
  EXPECT_EQ(flat.special(), whole.special());
  EXPECT_EQ(flat.prefix(), whole.prefix());
  EXPECT_EQ(flat.suffix(), whole.suffix());
  const auto expect_text = [&](const std::string& text) {
    const auto ids = flat.encode(text);
    ASSERT_EQ(ids, whole.encode(text)) << quote(text);
    ASSERT_EQ(flat.encode(text, false), whole.encode(text, false));
    ASSERT_EQ(flat.decode(ids), whole.decode(ids));
    ASSERT_EQ(flat.decode(ids, false), whole.decode(ids, false));
    ASSERT_EQ(flat.encode_pair(text, "b").ids, whole.encode_pair(text, "b").ids);
  };
  for (const auto& [text, ids] : conformance("gpt-2")) expect_text(text);
  // Tokens in any order, and characters of any script.
  const CounterRng rng(5);
  uint64_t draw = 0;
  for (int i = 0; i < 150; ++i) {
    std::string text;
    for (uint32_t n = rng.u32(draw++) % 40; n > 0; --n) {
      const uint32_t r = rng.u32(draw++);
      if (r % 3 == 0) {
        const auto id = static_cast<int32_t>(r / 3 % static_cast<uint32_t>(flat.vocab_size()));
        text += flat.token(id);
      } else if (r % 3 == 1) {
        text += static_cast<char>(32 + r / 3 % 95);
      } else {
        const uint32_t c = 0x80 + r / 3 % 0xC000;
        if (c < 0x800) {
          text += static_cast<char>(0xC0 | c >> 6);
        } else {
          text += static_cast<char>(0xE0 | c >> 12);
          text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
        }
        text += static_cast<char>(0x80 | (c & 0x3F));
      }
    }
    expect_text(text);
  }
  std::vector<int32_t> all;
  for (int32_t id = 0; id < flat.vocab_size(); id += 7) all.push_back(id);
  EXPECT_EQ(flat.decode(all, false), whole.decode(all, false));
}

TEST(BpeTables, EncodeAsTheCratesOwnModel) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const TestContext context;
  int64_t flat = 0;
  for (const char* name : {"gpt2", "llama2", "gpt-neox"}) {
    SCOPED_TRACE(name);
    const Tokenizer t = load_tokenizer(context, data_path(std::string("tokenizers/") + name));
    flat += read_bpe_tables(t.json(), {}).has_value();
    expect_equal(t.json());
  }
  EXPECT_EQ(flat, 3);
}

TEST(BpeTables, UnknownCharactersAndAddedTokensAreThoseOfTheCrate) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  Json root = Json::parse(R"({"version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [
      {"id": 7, "content": "x", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": true, "special": false},
      {"id": 9, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false,
       "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "BPE", "dropout": null, "unk_token": "?", "fuse_unk": false,
      "byte_fallback": false, "ignore_merges": false,
      "vocab": {"a": 0, "b": 1, "ab": 2, "?": 3, "aba": 4, "<0xC3>": 5, "<0xA9>": 6, "ba": 8},
      "merges": ["a b", "ab a", "b a"]}})");
  root["added_tokens"][0]["id"] = 8;  // the crate numbers on from the size of the vocabulary
  root["model"]["vocab"]["ba"] = 7;
  for (const bool fuse : {false, true})
    for (const bool fallback : {false, true})
      for (const bool ignore : {false, true})
        for (const char* unk : {"?", ""}) {
          root["model"]["fuse_unk"] = fuse;
          root["model"]["byte_fallback"] = fallback;
          root["model"]["ignore_merges"] = ignore;
          root["model"]["unk_token"] = *unk != 0 ? Json(unk) : Json();
          ASSERT_TRUE(read_bpe_tables(root.dump(), {}).has_value());
          expect_equal(root.dump());
        }
}

TEST(BpeTables, WhatTheConfigurationChangesIsInTheJsonToo) {
  Json root = parse_json(kSmall, "t.json");
  root["truncation"] = {{"max_length", 5}, {"stride", 0}};
  const Tokenizer t = Tokenizer::from_json(root.dump(), "t.json");
  root["truncation"] = nullptr;
  EXPECT_EQ(t.json(), root.dump());
  EXPECT_EQ(t.json(), root.dump());
  EXPECT_EQ(Tokenizer::from_json(kSmall, "t.json").json(), kSmall);
}

}  // namespace
}  // namespace halftone::text
