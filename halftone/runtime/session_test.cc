// Properties that must hold to the bit: grouping of tokens, threads, instruction sets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "halftone/base/rng.h"
#include "halftone/runtime/generate.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/test_support.h"
#include "tests/support/recorded_models.h"

namespace halftone::runtime {
namespace {

using testing::all_logits;
using testing::Bench;
using testing::fixture;

std::vector<int32_t> some_ids(int64_t count, uint64_t seed = 1) {
  const CounterRng rng(seed);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(rng.u32(static_cast<uint64_t>(i)) % 96));
  return ids;
}

// The recorded tiny models that give logits; the others are encoders.
std::vector<std::string> language_models() {
  const Bench bench;
  std::vector<std::string> names = tests::recorded_models();
  std::erase_if(names, [&](const std::string& name) {
    const std::string path = fixture("models/" + name + "/reference.safetensors");
    return files::open_safetensors(path, bench.context)->find("logits") == nullptr;
  });
  return names;
}

class EveryModel : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryModel, PrefillEqualsDecodeTokenByTokenToTheBit) {
  Bench bench;
  for (const KvType kv : {KvType::f32, KvType::bf16}) {
    const auto model = bench.load(fixture("models/" + GetParam()), {.kv = kv});
    const auto ids = some_ids(std::min<int64_t>(model->context_length(), 100));
    Session together(model, {.chunk = 64}, bench.context), one_by_one(model, {}, bench.context);
    const Matrix<float> prefill = all_logits(together, ids);
    for (size_t t = 0; t < ids.size(); ++t) {
      const auto row = one_by_one.feed(std::span(ids).subspan(t, 1));
      ASSERT_EQ(std::vector<float>(row.begin(), row.end()),
                std::vector<float>(prefill.row(static_cast<int64_t>(t)).begin(),
                                   prefill.row(static_cast<int64_t>(t)).end()))
          << "token " << t << ", " << kv_type_name(kv);
    }
  }
}

TEST_P(EveryModel, ThreadsDoNotChangeABit) {
  std::vector<Matrix<float>> results;
  for (const int64_t threads : {1, 2, 3}) {
    Bench bench(threads);
    const auto model = bench.load(fixture("models/" + GetParam()));
    Session session(model, {.chunk = 32}, bench.context);
    results.push_back(all_logits(session, some_ids(40)));
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST_P(EveryModel, SequencesInLockstepGetTheBitsTheyGetAlone) {
  Bench bench;
  const auto model = bench.load(fixture("models/" + GetParam()));
  const int64_t n = 11, length = std::min<int64_t>(model->context_length(),
                                                   24);  // past the rows that decode kernels take
  Session lockstep(model, {.sequences = n}, bench.context);
  std::vector<std::vector<int32_t>> ids;
  for (int64_t s = 0; s < n; ++s) ids.push_back(some_ids(length, static_cast<uint64_t>(s)));
  std::vector<std::vector<float>> rows;
  for (int64_t t = 0; t < length; ++t) {
    std::vector<int32_t> next;
    for (const auto& sequence : ids) next.push_back(sequence[static_cast<size_t>(t)]);
    std::vector<Append> parts;
    for (int64_t s = 0; s < n; ++s)
      parts.push_back({.sequence = s, .ids = std::span(next).subspan(static_cast<size_t>(s), 1)});
    lockstep.advance(parts);
    rows.emplace_back(static_cast<size_t>(n * model->vocabulary()));
    lockstep.logits(0, n, rows.back());
  }
  for (int64_t s = 0; s < n; ++s) {
    Session alone(model, {}, bench.context);
    const Matrix<float> wanted = all_logits(alone, ids[static_cast<size_t>(s)]);
    for (int64_t t = 0; t < length; ++t)
      ASSERT_TRUE(std::equal(wanted.row(t).begin(), wanted.row(t).end(),
                             rows[static_cast<size_t>(t)].begin() + s * model->vocabulary()))
          << s << " " << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Fixtures, EveryModel, ::testing::ValuesIn(language_models()),
                         [](const auto& test) { return test.param; });

TEST(Session, ResetStartsOver) {
  Bench bench;
  Session session(bench.load(fixture("models/llama_mha_tied")), {}, bench.context);
  const auto ids = some_ids(20);
  const auto view = session.feed(ids);
  const std::vector<float> first(view.begin(), view.end());
  session.feed(some_ids(5, 2));
  EXPECT_EQ(session.position(), 25);
  session.reset();
  const auto again = session.feed(ids);
  EXPECT_EQ(first, std::vector<float>(again.begin(), again.end()));
}

TEST(Session, ALogitSourceStartsAnywhereAndEndsAtTheEnd) {
  Bench bench;
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  const auto ids = some_ids(50);
  Session session(model, {}, bench.context);
  const Matrix<float> all = all_logits(session, ids);
  RuntimeLogits source(model, {.chunk = 16}, bench.context);
  source.begin(ids, 21);
  std::vector<float> rows(static_cast<size_t>(7 * model->vocabulary()));
  int64_t position = 21;
  for (int64_t n = source.next(rows); n > 0; n = source.next(rows))
    for (int64_t i = 0; i < n; ++i, ++position)
      ASSERT_TRUE(std::equal(all.row(position).begin(), all.row(position).end(),
                             rows.begin() + i * model->vocabulary()))
          << position;
  EXPECT_EQ(position, 50);
  EXPECT_EQ(source.next(rows), 0);
}

// The next text goes on from what it shares with the last one, to the bit, wherever it is scored.
TEST(Session, ALogitSourceKeepsWhatTextsShare) {
  Bench bench;
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  RuntimeLogits source(model, {.chunk = 16}, bench.context);
  std::vector<float> rows(static_cast<size_t>(64 * model->vocabulary()));
  const auto common = some_ids(40);
  struct Text {
    int64_t shared, more, first;
  };
  for (const Text& t : {Text{40, 5, 39}, Text{40, 7, 39}, Text{40, 7, 39}, Text{33, 9, 40},
                        Text{40, 3, 0}, Text{2, 4, 5}, Text{40, 9, 45}}) {
    std::vector<int32_t> ids(common.begin(),
                             common.begin() + static_cast<std::ptrdiff_t>(t.shared));
    for (const int32_t id : some_ids(t.more, static_cast<uint64_t>(t.more))) ids.push_back(id);
    Session session(model, {}, bench.context);
    const Matrix<float> wanted = all_logits(session, ids);
    source.begin(ids, t.first);
    int64_t position = t.first;
    for (int64_t n = source.next(rows); n > 0; n = source.next(rows))
      for (int64_t i = 0; i < n; ++i, ++position)
        ASSERT_TRUE(std::equal(wanted.row(position).begin(), wanted.row(position).end(),
                               rows.begin() + i * model->vocabulary()))
            << t.shared << " " << t.more << " " << position;
    EXPECT_EQ(position, std::ssize(ids));
  }
}

TEST(Generate, SamplingManyAtOnceIsSamplingEachAlone) {
  Bench bench;
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  Session one(model, {}, bench.context);
  const SamplerOptions sampler{.temperature = 1, .seed = 9};
  const auto texts = sample_texts(model, 5, 35, 20, sampler, bench.context);  // 32 and 3 together
  ASSERT_EQ(texts.size(), 35u);
  for (const size_t s : {0u, 1u, 31u, 32u, 34u}) {
    one.reset();
    SamplerOptions mine = sampler;
    mine.stream = static_cast<uint32_t>(s);
    std::vector<int32_t> wanted = {5};
    const auto rest = generate(one, wanted, {.max_new_tokens = 19, .sampler = mine}).tokens;
    wanted.insert(wanted.end(), rest.begin(), rest.end());
    EXPECT_EQ(texts[s], wanted) << s;
  }
  // No text of one seed is a text of the next.
  SamplerOptions next = sampler;
  ++next.seed;
  const std::set<std::vector<int32_t>> all(texts.begin(), texts.end());
  EXPECT_EQ(all.size(), 35u);
  for (const auto& text : sample_texts(model, 5, 35, 20, next, bench.context))
    EXPECT_FALSE(all.contains(text));
}

TEST(Generate, StopsWhereItIsTold) {
  Bench bench;
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  const auto prompt = some_ids(6);
  Session session(model, {}, bench.context);
  const auto free_run = generate(session, prompt, {.max_new_tokens = 12});
  EXPECT_EQ(free_run.reason, Stop::length);
  ASSERT_EQ(free_run.tokens.size(), 12u);
  EXPECT_EQ(free_run.decoded, 11);
  session.reset();
  const int32_t stop = free_run.tokens[4];
  const auto first = std::find(free_run.tokens.begin(), free_run.tokens.end(), stop);
  const auto stopped =
      generate(session, prompt, {.max_new_tokens = 12, .sampler = {}, .stop_ids = {stop}});
  EXPECT_EQ(stopped.reason, Stop::stop_id);
  EXPECT_EQ(stopped.tokens, std::vector<int32_t>(free_run.tokens.begin(), first));
  session.reset();
  int64_t seen = 0;
  const auto called =
      generate(session, prompt, {.max_new_tokens = 12}, [&](int32_t) { return ++seen < 3; });
  EXPECT_EQ(called.reason, Stop::callback);
  EXPECT_EQ(called.tokens.size(), 3u);
  Session small(model, {.max_tokens = 8}, bench.context);
  const auto full = generate(small, prompt, {.max_new_tokens = 12});
  EXPECT_EQ(full.reason, Stop::full);
  EXPECT_EQ(full.tokens.size(), 3u);  // two fit the cache, the third is drawn from the last logits
  EXPECT_THROW(generate(small, {}, {}), InputError);
}

}  // namespace
}  // namespace halftone::runtime
