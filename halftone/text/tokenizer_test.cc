#include "halftone/text/tokenizer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "halftone/base/bytes.h"
#include "halftone/base/json.h"
#include "halftone/text/load.h"
#include "halftone/text/test_text.h"

namespace halftone::text {
namespace {

void expect_conforms(const Tokenizer& tokenizer, const std::string& name) {
  for (const auto& [text, ids] : conformance(name))
    EXPECT_EQ(tokenizer.encode(text, false), ids) << quote(text);
}

Tokenizer from_data(const std::string& path) {
  const TestContext context;
  return load_tokenizer(context, data_path(path));
}

TEST(Tokenizer, LlamaJsonConforms) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = from_data("tokenizers/llama2/tokenizer.json");
  expect_conforms(t, "llama-spm");
  EXPECT_TRUE(t.adds_bos());
  EXPECT_EQ(t.vocab_size(), 32000);
  EXPECT_EQ(t.special().bos, 1);
  EXPECT_EQ(t.special().eos, 2);
  EXPECT_EQ(t.special().unk, 0);
  EXPECT_EQ(t.token_bytes(15043), " Hello");
  EXPECT_EQ(t.token_bytes(13), "\n");
  EXPECT_EQ(t.special().eos_ids, std::vector<int32_t>{2});
}

TEST(Tokenizer, BertJsonConforms) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = from_data("tokenizers/bert-base-uncased/tokenizer.json");
  expect_conforms(t, "bert-bge");
  EXPECT_EQ(t.prefix(), std::vector<int32_t>{101});
  EXPECT_EQ(t.suffix(), std::vector<int32_t>{102});
  EXPECT_FALSE(t.adds_bos());
  EXPECT_EQ(t.special().cls, 101);
  EXPECT_EQ(t.special().mask, 103);
  const PairEncoding pair = t.encode_pair("a b", "c");
  EXPECT_EQ(pair.ids, (std::vector<int32_t>{101, 1037, 1038, 102, 1039, 102}));
  EXPECT_EQ(pair.type_ids, (std::vector<int32_t>{0, 0, 0, 0, 1, 1}));
  EXPECT_EQ(t.token_bytes(1037), " a");
}

TEST(Tokenizer, ManyThreadsMayEncode) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = from_data("tokenizers/llama2/tokenizer.json");
  const auto cases = conformance("llama-spm");
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (const auto& [text, ids] : cases) wrong += t.encode(text, false) != ids;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

// Pushes ids one by one; every piece must be whole characters.
std::string streamed(const Tokenizer& t, const std::vector<int32_t>& ids,
                     bool skip_special = true) {
  StreamDecoder stream(t, skip_special);
  std::string out;
  for (const int32_t id : ids) {
    const std::string piece = stream.push(id);
    EXPECT_TRUE(valid_utf8(piece));
    out += piece;
  }
  return out + stream.finish();
}

TEST(Tokenizer, TextComesBackAndStreamsAsItIsDecoded) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const auto cases = conformance("gpt-2");
  // Byte-level and byte-fallback vocabularies lose nothing; the others lower case, strip or
  // replace.
  for (const char* path : {"tokenizers/gpt2", "tokenizers/falcon",
                           "tokenizers/llama2/tokenizer.json", "tokenizers/llama2/tokenizer.model",
                           "tokenizers/gguf/ggml-vocab-llama-spm.gguf", "models/stories260k"}) {
    const Tokenizer t = from_data(path);
    for (const auto& [text, unused] : cases) {
      const std::vector<int32_t> ids = t.encode(text);
      EXPECT_EQ(t.decode(ids), text) << path;
      EXPECT_EQ(streamed(t, ids), text) << path;
    }
  }
  for (const char* path : {"tokenizers/gpt-neox", "tokenizers/bert-base-uncased/vocab.txt",
                           "tokenizers/xlnet-base-cased"}) {
    const Tokenizer t = from_data(path);
    for (const auto& [text, unused] : cases)
      for (const bool skip : {true, false}) {
        const std::vector<int32_t> ids = t.encode(text);
        EXPECT_EQ(streamed(t, ids, skip), t.decode(ids, skip)) << path << quote(text);
      }
  }
}

TEST(Tokenizer, StreamingHoldsBackHalfACharacter) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = from_data("tokenizers/llama2/tokenizer.json");
  const auto byte = [&](const char* name) { return *t.id_of(name); };
  StreamDecoder stream(t);
  EXPECT_EQ(stream.push(*t.id_of("\u2581Hi")), "Hi");
  EXPECT_EQ(stream.push(byte("<0xE2>")), "");
  EXPECT_EQ(stream.push(byte("<0x82>")), "");
  EXPECT_EQ(stream.push(byte("<0xAC>")), "\u20AC");
  EXPECT_EQ(stream.push(*t.id_of("\u2581you")), " you");
  // A character that never ends: shown as unreadable once other text follows, or at the end.
  EXPECT_EQ(stream.push(byte("<0xE2>")), "");
  EXPECT_EQ(stream.push(*t.id_of("a")), "\uFFFDa");
  EXPECT_EQ(stream.push(byte("<0xE2>")), "");
  EXPECT_EQ(stream.finish(), "\uFFFD");
}

TEST(Tokenizer, StreamingGoesOnAfterItsPrompt) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  for (const char* path : {"tokenizers/gpt2", "tokenizers/llama2/tokenizer.json",
                           "tokenizers/llama2/tokenizer.model", "models/stories260k"}) {
    const Tokenizer t = from_data(path);
    const std::string text = "Once upon a time, there was \u20AC 5";
    const std::vector<int32_t> ids = t.encode(text);
    // Wherever whole characters end, prompt and continuation make up the text.
    for (size_t cut = t.prefix().size(); cut <= ids.size(); ++cut) {
      const auto prompt = std::span(ids).first(cut);
      const std::string before = t.decode(prompt);
      if (!text.starts_with(before)) continue;
      StreamDecoder stream(t);
      stream.follow(prompt);
      std::string after;
      for (const int32_t id : std::span(ids).subspan(cut)) after += stream.push(id);
      EXPECT_EQ(before + after + stream.finish(), text) << path << cut;
    }
  }
}

TEST(Tokenizer, StreamingSurvivesAnyIds) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  for (const char* path : {"tokenizers/gpt2", "tokenizers/llama2/tokenizer.json",
                           "tokenizers/bert-base-uncased/tokenizer.json"}) {
    const Tokenizer t = from_data(path);
    uint32_t seed = 7;
    std::vector<int32_t> ids;
    for (int i = 0; i < 3000; ++i)
      ids.push_back(static_cast<int32_t>((seed = seed * 1664525 + 1013904223) >> 8) %
                    static_cast<int32_t>(t.vocab_size() + 50));
    EXPECT_TRUE(valid_utf8(streamed(t, ids))) << path;
    EXPECT_GT(streamed(t, ids).size(), 3000u) << path;
  }
}

TEST(Tokenizer, BytesOfATokenJoinToTheText) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  for (const char* path : {"tokenizers/gpt2", "tokenizers/llama2/tokenizer.json"}) {
    const Tokenizer t = from_data(path);
    for (const auto& [text, unused] : conformance("gpt-2")) {
      std::string joined;
      for (const int32_t id : t.encode(text, false)) joined += t.token_bytes(id);
      EXPECT_EQ(joined, (t.token(1) == "<s>" && !text.empty() ? " " : "") + text) << path;
    }
  }
}

}  // namespace
}  // namespace halftone::text
