// SmolLM2 out of its GGUF: the default model's ids, its chat, and text that comes back as it went
// in.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "halftone/base/json.h"
#include "halftone/files/datasets.h"
#include "halftone/files/gguf.h"
#include "halftone/text/gguf_tokenizer.h"
#include "halftone/text/load.h"
#include "halftone/text/test_text.h"

namespace halftone::text {
namespace {

using tests::default_model;
using tests::without_default_model;

Json recorded() {
  const std::string path =
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/tokenizers/smollm2.json";
  return parse_json(posix_env()->read_text(path, 1 << 20), path);
}

// FNV-1a of the ids as little-endian int32, as the recording script computes it.
std::string fnv1a(const std::vector<int32_t>& ids) {
  uint64_t h = 0xCBF29CE484222325u;
  for (const int32_t id : ids)
    for (int shift = 0; shift < 32; shift += 8)
      h = (h ^ (static_cast<uint32_t>(id) >> shift & 0xFF)) * 0x100000001B3u;
  char out[17];
  std::snprintf(out, sizeof out, "%016llx", static_cast<unsigned long long>(h));
  return out;
}

std::string wikitext2_test(const TestContext& context) {
  const auto set = files::find_text_set(*context.env, "wikitext2", files::Split::test,
                                        {.data_dir = data_folder()});
  return set->joined();
}

TEST(SmolLm2, EqualsTransformersWithTheDigitRule) {
  if (const auto why = without_default_model(); !why.empty()) GTEST_SKIP() << why;
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const TestContext context;
  const Tokenizer t = load_tokenizer(context, default_model());
  const Json root = recorded();
  const auto texts = conformance("gpt-2");
  ASSERT_EQ(root["rows"].size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(t.encode(texts[i].first), root["rows"][i].get<std::vector<int32_t>>())
        << quote(texts[i].first);

  const std::vector<int32_t> ids = t.encode(wikitext2_test(context));
  EXPECT_EQ(static_cast<int64_t>(ids.size()), root["wikitext2"]["tokens"].get<int64_t>());
  EXPECT_EQ(ids.size() / 2048, 148u);
  EXPECT_EQ(fnv1a(ids), root["wikitext2"]["fnv1a"].get<std::string>());
  EXPECT_FALSE(t.adds_bos());
  EXPECT_EQ(t.special().bos, 1);
  EXPECT_EQ(std::ranges::count(t.special().eos_ids, 2), 1);
}

// transformers reads the file without the rule of tokenizer.ggml.pre = smollm; so read here, its
// count comes out too.
TEST(SmolLm2, WithoutTheDigitRuleTheCountIsThatOfTransformers) {
  if (const auto why = without_default_model(); !why.empty()) GTEST_SKIP() << why;
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const TestContext context;
  GgufTokenizer gguf = read_gguf_tokenizer(*files::open_gguf(default_model(), context));
  EXPECT_EQ(gguf.pre, "smollm");
  gguf.pre = "gpt-2";
  const Tokenizer t = tokenizer_from_gguf(gguf, "smollm2");
  EXPECT_EQ(static_cast<int64_t>(t.encode(wikitext2_test(context)).size()),
            recorded()["wikitext2"]["tokens_without_digit_rule"].get<int64_t>());
}

TEST(SmolLm2, ChatsAsTransformers) {
  if (const auto why = without_default_model(); !why.empty()) GTEST_SKIP() << why;
  const TestContext context;
  const GgufTokenizer gguf = read_gguf_tokenizer(*files::open_gguf(default_model(), context));
  const Tokenizer t = tokenizer_from_gguf(gguf, default_model());
  const auto chat = chat_template_from_gguf(gguf, default_model());
  ASSERT_TRUE(chat);
  const Json root = recorded();
  const std::string text =
      chat->render(root["chat"]["messages"], {.variables = template_variables(t)});
  EXPECT_EQ(text, root["chat"]["text"].get<std::string>());
  EXPECT_EQ(t.encode(text, false), root["chat"]["ids"].get<std::vector<int32_t>>());
}

TEST(SmolLm2, TheRebuiltTokenizerJsonIsTheSameTokenizer) {
  if (const auto why = without_default_model(); !why.empty()) GTEST_SKIP() << why;
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const TestContext context;
  const Tokenizer t = load_tokenizer(context, default_model());
  const Tokenizer again = Tokenizer::from_json(t.json(), "tokenizer.json");
  for (const auto& [text, ids] : conformance("gpt-2"))
    EXPECT_EQ(t.encode(text), again.encode(text));
}

}  // namespace
}  // namespace halftone::text
