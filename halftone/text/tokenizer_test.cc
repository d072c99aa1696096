#include "halftone/text/tokenizer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "halftone/base/json.h"
#include "halftone/text/load.h"
#include "halftone/text/test_text.h"

namespace halftone::text {
namespace {

void expect_conforms(const Tokenizer& tokenizer, const std::string& name) {
  for (const auto& [text, ids] : conformance(name)) EXPECT_EQ(tokenizer.encode(text, false), ids) << quote(text);
}

Tokenizer from_data(const std::string& path) {
  const TestContext context;
  return load_tokenizer(context, join_path(data_folder(), path));
}

TEST(Tokenizer, LlamaJsonConforms) {
  HALFTONE_NEED_DATA();
  const Tokenizer t = from_data("tokenizers/llama2/tokenizer.json");
  expect_conforms(t, "llama-spm");
  EXPECT_TRUE(t.adds_bos());
  EXPECT_EQ(t.vocab_size(), 32000);
  EXPECT_EQ(t.special().bos, 1);
  EXPECT_EQ(t.special().eos, 2);
  EXPECT_EQ(t.special().unk, 0);
  EXPECT_EQ(t.token_bytes(15043), " Hello");
  EXPECT_EQ(t.token_bytes(13), "\n");
  EXPECT_TRUE(t.ends_generation(2));
  EXPECT_FALSE(t.ends_generation(1));
}

TEST(Tokenizer, BertJsonConforms) {
  HALFTONE_NEED_DATA();
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
  HALFTONE_NEED_DATA();
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

}  // namespace
}  // namespace halftone::text
