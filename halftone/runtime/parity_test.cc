// Against what transformers computed: every tiny model of tests/fixtures/models, and a trained one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "halftone/runtime/generate.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/test_support.h"
#include "tests/support/recorded_models.h"

namespace halftone::runtime {
namespace {

using testing::all_logits;
using testing::Bench;
using testing::data_folder;
using testing::fixture;
using testing::max_difference;
using testing::Recorded;

// 16 roundings of the largest outputs (6.4) in the last sums give 6e-6; the fixtures' README
// derives 3e-5 for any float32 engine.
constexpr double kTolerance = 3e-5;

// Every model with a reference, whatever its family: a fixture that is added joins.
class TinyModel : public ::testing::TestWithParam<std::string> {
 protected:
  const std::string path_ = fixture("models/" + GetParam());
  Bench bench_;
  const Recorded recorded_{path_ + "/reference.safetensors", bench_.context};
  const std::shared_ptr<const Model> model_ = bench_.load(path_);

  void check_logits() {
    const Shape shape = recorded_.shape("logits");
    const auto ids = recorded_.ids("input_ids");
    const auto wanted = recorded_.floats("logits");
    for (int64_t b = 0; b < shape[0]; ++b) {
      Session session(model_, {.chunk = 7}, bench_.context);
      const auto row =
          std::span(ids).subspan(static_cast<size_t>(b * shape[1]), static_cast<size_t>(shape[1]));
      const Matrix<float> got = all_logits(session, row);
      EXPECT_LE(max_difference(got.data,
                               std::span(wanted).subspan(
                                   static_cast<size_t>(b * shape[1] * shape[2]), got.data.size())),
                kTolerance);
    }
  }

  // A padded batch; and a sequence alone gives the very same numbers as in the batch.
  void check_encodings() {
    const Shape shape = recorded_.shape("last_hidden_state");
    const auto ids = recorded_.ids("input_ids"), types = recorded_.ids("token_type_ids"),
               mask = recorded_.ids("attention_mask");
    const std::vector<uint8_t> visible(mask.begin(), mask.end());
    Session session(model_, {}, bench_.context);
    const Encoded got = session.encode({.sequences = shape[0],
                                        .tokens = shape[1],
                                        .ids = ids,
                                        .token_types = types,
                                        .visible = visible});
    const auto hidden = recorded_.floats("last_hidden_state"),
               pooled = recorded_.floats("pooler_output");
    double worst = 0;
    for (int64_t r = 0; r < shape[0] * shape[1]; ++r) {
      if (!visible[static_cast<size_t>(r)]) continue;  // what a padded row holds means nothing
      const auto wanted = std::span(hidden).subspan(static_cast<size_t>(r * shape[2]),
                                                    static_cast<size_t>(shape[2]));
      worst = std::max(worst, max_difference(got.hidden.row(r), wanted));
    }
    EXPECT_LE(worst, kTolerance);
    EXPECT_LE(max_difference(got.pooled.data, pooled), kTolerance);

    const auto first = static_cast<size_t>(shape[1]);
    const Encoded alone = session.encode({.sequences = 1,
                                          .tokens = shape[1],
                                          .ids = std::span(ids).first(first),
                                          .token_types = std::span(types).first(first)});
    EXPECT_EQ(alone.pooled.data,
              std::vector<float>(got.pooled.row(0).begin(), got.pooled.row(0).end()));
  }
};

TEST_P(TinyModel, GivesTheOutputsOfTransformers) {
  if (recorded_.file->find("logits") != nullptr)
    check_logits();
  else
    check_encodings();
}

INSTANTIATE_TEST_SUITE_P(Fixtures, TinyModel, ::testing::ValuesIn(tests::recorded_models()),
                         [](const auto& test) { return test.param; });

TEST(Runtime, ReadsTheSameModelFromShardsAndBareNames) {
  Bench bench;
  for (const auto& [model, copy] : {std::pair{"llama_gqa_untied", "llama_gqa_untied_sharded"},
                                    {"gpt2_tiny", "gpt2_tiny_bare"}}) {
    const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6};
    Session a(bench.load(fixture(std::string("models/") + model)), {}, bench.context);
    Session b(bench.load(fixture(std::string("models/") + copy)), {}, bench.context);
    EXPECT_EQ(all_logits(a, ids), all_logits(b, ids)) << copy;
  }
}

TEST(Runtime, RefusesTheWrongKindOfModelAndBadTokens) {
  Bench bench;
  Session bert(bench.load(fixture("models/bert_tiny")), {}, bench.context);
  const std::vector<int32_t> ids = {1, 2};
  EXPECT_THROW(bert.feed(ids), UnsupportedError);
  Session llama(bench.load(fixture("models/llama_mha_tied")), {.max_tokens = 4}, bench.context);
  EXPECT_THROW(llama.encode({.sequences = 1, .tokens = 2, .ids = ids}), UnsupportedError);
  try {
    llama.feed(std::vector<int32_t>{1, 96});
    FAIL();
  } catch (const InputError& e) {
    EXPECT_EQ(e.line(),
              "error[E_USAGE] tokens: id 96 is outside the vocabulary of 96; use the tokenizer of "
              "this model");
  }
  EXPECT_EQ(llama.position(), 0);
  try {
    llama.feed(std::vector<int32_t>{1, 2, 3, 4, 5});
    FAIL();
  } catch (const InputError& e) {
    EXPECT_EQ(e.line(),
              "error[E_USAGE] tokens: a sequence of 5 tokens is longer than the limit of 4; "
              "shorten the text");
  }
}

class Stories : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = data_folder() + "/models/stories260k";
    if (!bench_.env->stat(folder_ + "/reference.json"))
      GTEST_SKIP() << "no " << folder_ << " (set HALFTONE_DATA)";
    reference_ =
        parse_json(bench_.env->read_text(folder_ + "/reference.json", 1 << 20), "reference.json");
  }
  Bench bench_;
  std::string folder_;
  Json reference_;
};

TEST_F(Stories, LogitsAndGreedyTextEqualTheReference) {
  const auto model = bench_.load(folder_);
  Session session(model, {}, bench_.context);
  const auto prompt = reference_["prompt_ids"].get<std::vector<int32_t>>();
  const auto wanted = reference_["last_prompt_logits"].get<std::vector<float>>();
  EXPECT_LE(max_difference(session.feed(prompt), wanted), 1e-4);
  session.reset();
  const auto all = reference_["greedy_ids"].get<std::vector<int32_t>>();
  const auto out = generate(session, prompt, {.max_new_tokens = 200});
  EXPECT_EQ(out.tokens, std::vector<int32_t>(
                            all.begin() + static_cast<std::ptrdiff_t>(prompt.size()), all.end()));
  EXPECT_EQ(out.tokens.size(), 200u);
}

// The sum over positions of -log p(next).
double negative_log_likelihood(RuntimeLogits& source, std::span<const int32_t> ids) {
  double sum = 0;
  source.each_row(ids.first(ids.size() - 1), 0, [&](int64_t t, std::span<const float> row) {
    double top = row[0], total = 0;
    for (const float v : row) top = std::max(top, static_cast<double>(v));
    for (const float v : row) total += std::exp(static_cast<double>(v) - top);
    sum += top + std::log(total) -
           static_cast<double>(row[static_cast<size_t>(ids[static_cast<size_t>(t + 1)])]);
  });
  return sum;
}

TEST_F(Stories, ItsOwnGreedyTextHasTheSameLikelihoodInEveryKindOfCache) {
  const auto ids = reference_["greedy_ids"].get<std::vector<int32_t>>();
  RuntimeLogits exact(bench_.load(folder_), {}, bench_.context);
  const double f32 = negative_log_likelihood(exact, ids);
  RuntimeLogits half(bench_.load(folder_, {.kv = KvType::f16}), {}, bench_.context);
  // f16 keys and values carry 2^-12 relative errors: below a thousandth of a nat a token.
  EXPECT_NEAR(negative_log_likelihood(half, ids) / static_cast<double>(ids.size()),
              f32 / static_cast<double>(ids.size()), 1e-3);
  // bf16: 2^-9, and queries and probabilities, too.
  RuntimeLogits bf16(bench_.load(folder_, {.kv = KvType::bf16}), {}, bench_.context);
  EXPECT_NEAR(negative_log_likelihood(bf16, ids) / static_cast<double>(ids.size()),
              f32 / static_cast<double>(ids.size()), 1e-2);
}

}  // namespace
}  // namespace halftone::runtime
