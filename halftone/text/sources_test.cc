// Every kind of tokenizer source against the published or recorded ids of the same 46 strings.
#include <gtest/gtest.h>

#include "halftone/base/json.h"
#include "halftone/files/gguf.h"
#include "halftone/text/gguf_tokenizer.h"
#include "halftone/text/load.h"
#include "halftone/text/pre_tokenizers.h"
#include "halftone/text/test_text.h"
#include "halftone/text/vocabulary_files.h"

namespace halftone::text {
namespace {

const TestContext context;

Tokenizer load(const std::string& path) { return load_tokenizer(context, data_path(path)); }

void expect_conforms(const Tokenizer& tokenizer, const std::string& name) {
  for (const auto& [text, ids] : conformance(name))
    EXPECT_EQ(tokenizer.encode(text, false), ids) << quote(text);
}

// tests/fixtures/tokenizers/NAME.json, as make.py wrote it with transformers.
void expect_recorded(const Tokenizer& tokenizer, const std::string& name) {
  const std::string path =
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/tokenizers/" + name + ".json";
  const Json root = parse_json(context.env->read_text(path, 1 << 20), path);
  const auto texts = conformance("gpt-2");
  ASSERT_EQ(root["rows"].size(), texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    const std::string& text = texts[i].first;
    const Json& row = root["rows"][i];
    const auto ids = row["ids"].get<std::vector<int32_t>>();
    EXPECT_EQ(tokenizer.encode(text, false), ids) << quote(text);
    EXPECT_EQ(tokenizer.encode(text), row["special"].get<std::vector<int32_t>>()) << quote(text);
    EXPECT_EQ(tokenizer.decode(ids, false), row["decoded"].get<std::string>()) << quote(text);
  }
  const PairEncoding pair = tokenizer.encode_pair("Hello world", "good-bye");
  EXPECT_EQ(pair.ids, root["pair"]["ids"].get<std::vector<int32_t>>());
}

TEST(Sources, Gpt2FromVocabAndMerges) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = load("tokenizers/gpt2");
  expect_conforms(t, "gpt-2");
  EXPECT_EQ(t.special().bos, 50256);
  EXPECT_TRUE(t.prefix().empty());
  EXPECT_EQ(t.encode("a<|endoftext|>"), (std::vector<int32_t>{64, 50256}));
  EXPECT_EQ(t.token(262), "Ġthe");
  EXPECT_EQ(t.token_bytes(262), " the");
}

TEST(Sources, FalconNeedsItsOwnCut) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = tokenizer_from_bpe_files(read_data("tokenizers/falcon/vocab.json"),
                                               read_data("tokenizers/falcon/merges.txt"), "falcon",
                                               "falcon", {}, {});
  expect_conforms(t, "falcon");
}

TEST(Sources, QwenFromTiktoken) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = load("tokenizers/qwen");
  expect_conforms(t, "qwen2");
  EXPECT_EQ(t.encode("<|im_start|>user\n"), (std::vector<int32_t>{151644, 872, 198}));
  EXPECT_EQ(t.special().eos, 151643);
}

TEST(Sources, LlamaFromSentencePiece) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = load("tokenizers/llama2/tokenizer.model");
  expect_conforms(t, "llama-spm");
  EXPECT_TRUE(t.adds_bos());
  const Tokenizer json = load("tokenizers/llama2/tokenizer.json");
  EXPECT_EQ(t.encode("Hello <s> there</s>you"), json.encode("Hello <s> there</s>you"));
  EXPECT_EQ(t.special(), json.special());
}

TEST(Sources, BertFromVocabTxt) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = load("tokenizers/bert-base-uncased/vocab.txt");
  expect_conforms(t, "bert-bge");
  EXPECT_EQ(t.encode("Hi [MASK]"), (std::vector<int32_t>{101, 7632, 103, 102}));
}

TEST(Sources, GgufVocabularies) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  expect_conforms(load("tokenizers/gguf/ggml-vocab-llama-spm.gguf"), "llama-spm");
  const Tokenizer bert = load("tokenizers/gguf/ggml-vocab-bert-bge.gguf");
  expect_conforms(bert, "bert-bge");
  EXPECT_EQ(bert.prefix(), std::vector<int32_t>{101});
  EXPECT_EQ(bert.suffix(), std::vector<int32_t>{102});
}

TEST(Sources, RobertaAsTransformers) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  expect_recorded(
      tokenizer_from_bpe_files(read_data("tokenizers/roberta/vocab.json"),
                               read_data("tokenizers/gpt2/merges.txt"), "gpt-2", "roberta", {}, {}),
      "roberta");
}

TEST(Sources, GptNeoxAsTransformers) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  expect_recorded(load("tokenizers/gpt-neox"), "gpt-neox");
}

TEST(Sources, XlnetAsTransformers) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer t = load("tokenizers/xlnet-base-cased");
  expect_recorded(t, "xlnet");
  EXPECT_EQ(t.encode_pair("a", "b").type_ids.back(), 2);
}

TEST(Sources, Stories260kFilesAgree) {
  if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
  const Tokenizer json = load("models/stories260k/tokenizer.json"),
                  model = load("models/stories260k/tokenizer.model");
  for (const auto& [text, ids] : conformance("gpt-2")) {
    EXPECT_EQ(json.encode(text), model.encode(text)) << quote(text);
    EXPECT_EQ(json.decode(json.encode(text)), model.decode(model.encode(text))) << quote(text);
  }
  const std::string stories = read_data("tinystories/tinystories_sample.txt");
  EXPECT_EQ(json.encode(stories), model.encode(stories));
  EXPECT_EQ(json.decode(json.encode("Once upon a time")), "Once upon a time");
}

TEST(Sources, EveryNamedCutCompiles) {
  const std::string vocab = R"({"a":0,"b":1})";
  for (const std::string& name : pre_tokenizer_names())
    EXPECT_EQ(tokenizer_from_bpe_files(vocab, "", name, "t", {}, {}).encode("ab", false),
              (std::vector<int32_t>{0, 1}))
        << name;
  EXPECT_EQ(
      error_line([] { pre_tokenizer("qwen", "m.gguf"); }),
      "error[E_UNSUPPORTED] m.gguf: pre-tokenizer \"qwen\" is not known, nearest is \"qwen2\"; use "
      "a file that carries its tokenizer.json, or put tokenizer.json beside it");
}

}  // namespace
}  // namespace halftone::text
