// Caches whose blocks are closed in codes, under everything that moves tokens about: how they are
// grouped, who computes them, what is taken back. Sequences run over several blocks of 256.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "halftone/base/error.h"
#include "halftone/base/rng.h"
#include "halftone/runtime/batch.h"
#include "halftone/runtime/generate.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/test_quantized.h"
#include "halftone/runtime/test_support.h"
#include "halftone/runtime/tree_walk.h"

namespace halftone::runtime {
namespace {

using testing::all_logits;
using testing::Bench;
using testing::fixture;
using testing::some_ids;

// llama_gqa_untied with 4-bit weights and room for 1024 tokens.
std::shared_ptr<const Model> long_model(Bench& bench, Numerics numerics, KvType kv) {
  auto packed = std::make_shared<testing::Quantized>(
      std::make_shared<testing::Longer>(
          pack::open_model(fixture("models/llama_gqa_untied"), bench.context), 1024),
      format::Format{.bits = 4, .group = 32}, false);
  return Model::load(std::move(packed), {.numerics = numerics, .kv = kv}, bench.context);
}

struct Case {
  Numerics numerics;
  KvType kv;
};
class Blocks : public ::testing::TestWithParam<Case> {
 protected:
  std::shared_ptr<const Model> model(Bench& bench) const {
    return long_model(bench, GetParam().numerics, GetParam().kv);
  }
};
INSTANTIATE_TEST_SUITE_P(
    Formats, Blocks,
    ::testing::Values(Case{Numerics::exact, KvType::i8}, Case{Numerics::exact, KvType::i4},
                      Case{Numerics::exact, KvType::i2}, Case{Numerics::int8, KvType::i8},
                      Case{Numerics::int8, KvType::i4}, Case{Numerics::int8, KvType::i2}),
    [](const auto& test) {
      return std::string(kv_type_name(test.param.kv)) + "_mode_" +
             std::string(numerics_name(test.param.numerics));
    });

std::vector<float> row_of(const Matrix<float>& logits, int64_t row) {
  return {logits.row(row).begin(), logits.row(row).end()};
}

// Feeds `ids` to a sequence in pieces; the logits after the last.
std::vector<float> feed(Session& session, int64_t sequence, std::span<const int32_t> ids,
                        int64_t piece) {
  std::vector<float> out(static_cast<size_t>(session.model().vocabulary()));
  int64_t last = -1;
  while (!ids.empty()) {
    const auto some = ids.first(std::min(ids.size(), static_cast<size_t>(piece)));
    const Append part{.sequence = sequence, .ids = some};
    session.advance({&part, 1});
    last = std::ssize(some) - 1;
    ids = ids.subspan(some.size());
  }
  session.logits({&last, 1}, out);
  return out;
}

TEST_P(Blocks, ChunksAndThreadsChangeNoBit) {
  const auto ids = some_ids(700);
  Bench bench(1);
  const auto one = model(bench);
  Session whole(one, {.chunk = 1000}, bench.context);  // three blocks in one step
  const Matrix<float> wanted = all_logits(whole, ids);
  for (const int64_t threads : {1, 2}) {
    Bench other(threads);
    for (const int64_t chunk : {1, 7, 64, 256, 300, 513}) {
      Session session(model(other), {.chunk = chunk}, other.context);
      ASSERT_EQ(wanted.data, all_logits(session, ids).data) << chunk << " " << threads;
    }
  }
}

TEST_P(Blocks, CodesMoveLogitsAndOnlyBehindTheFirstBlock) {
  const auto ids = some_ids(600);
  Bench bench;
  Session floats(long_model(bench, GetParam().numerics,
                            GetParam().numerics == Numerics::exact ? KvType::f32 : KvType::f16),
                 {}, bench.context);
  Session codes(model(bench), {}, bench.context);
  const Matrix<float> a = all_logits(floats, ids), b = all_logits(codes, ids);
  for (int64_t t = 0; t < 256; ++t) ASSERT_EQ(row_of(a, t), row_of(b, t)) << t;
  double error = 0, size = 0;
  for (size_t i = 256 * static_cast<size_t>(a.cols); i < a.data.size(); ++i) {
    error += std::pow(static_cast<double>(a.data[i]) - static_cast<double>(b.data[i]), 2);
    size += std::pow(static_cast<double>(a.data[i]), 2);
  }
  // The model is random: its scores are large, and errors of keys move them in proportion to their
  // steps, 17 and 5 times as wide from one to the next. In the end nothing is left to lose.
  const double share = std::sqrt(error / size);
  const KvType kv = GetParam().kv;
  EXPECT_GT(share, kv == KvType::i8 ? 0.005 : kv == KvType::i4 ? 0.1 : 0.5);
  EXPECT_LT(share, kv == KvType::i8 ? 0.06 : kv == KvType::i4 ? 0.6 : 1.2);
}

TEST_P(Blocks, SequencesSideBySideGetTheBitsTheyGetAlone) {
  Bench bench;
  const auto shared = model(bench);
  const CounterRng rng(3);
  std::vector<std::vector<int32_t>> ids;
  std::vector<Matrix<float>> wanted;
  for (uint64_t s = 0; s < 3; ++s) {
    ids.push_back(some_ids(560 + 60 * static_cast<int64_t>(s), 40 + s));
    Session alone(shared, {}, bench.context);
    wanted.push_back(all_logits(alone, ids.back()));
  }
  Session many(shared, {.chunk = 300, .sequences = 3}, bench.context);
  uint64_t draw = 0;
  for (bool more = true; more;) {
    std::vector<Append> parts;
    std::vector<int64_t> rows;
    std::vector<std::span<const float>> expected;
    int64_t row = 0;
    more = false;
    for (int64_t s = 2; s >= 0; --s) {
      const auto& text = ids[static_cast<size_t>(s)];
      const int64_t at = many.position(s), wish = static_cast<int64_t>(rng.u32(draw++) % 130) - 30,
                    n = std::min(std::ssize(text) - at, std::max<int64_t>(wish, 1));
      if (n == 0) continue;
      more = true;
      parts.push_back({s, std::span<const int32_t>(text).subspan(static_cast<size_t>(at),
                                                                 static_cast<size_t>(n))});
      row += n;
      rows.push_back(row - 1);
      expected.push_back(wanted[static_cast<size_t>(s)].row(at + n - 1));
    }
    if (!more) break;
    many.advance(parts);
    const auto width = static_cast<size_t>(shared->vocabulary());
    std::vector<float> out(rows.size() * width);
    many.logits(rows, out);
    for (size_t i = 0; i < rows.size(); ++i)
      ASSERT_TRUE(std::equal(expected[i].begin(), expected[i].end(),
                             out.begin() + static_cast<std::ptrdiff_t>(i * width)))
          << many.position(0) << " " << many.position(1) << " " << many.position(2);
  }
}

TEST_P(Blocks, ABatchGivesTheTokensOfEachTextAlone) {
  Bench bench;
  const auto shared = model(bench);
  std::vector<Request> requests;
  for (int64_t i = 0; i < 6; ++i) {
    Request r{.prompt = some_ids(230 + i * 53, static_cast<uint64_t>(i)), .options = {}};
    r.options.max_new_tokens = 40 + i;
    if (i % 2 == 1)
      r.options.sampler = {.temperature = 0.9, .seed = 5, .stream = static_cast<uint32_t>(i)};
    requests.push_back(std::move(r));
  }
  const Session one(shared, {}, bench.context);
  Batch batch(shared, {.sequences = 4, .rows = 200, .cache_bytes = 3 * one.cache_bytes_for(600)},
              bench.context);
  for (const Request& r : requests) batch.add(r);
  std::map<int64_t, std::vector<int32_t>> got;
  while (!batch.idle()) {
    for (const Event& e : batch.step())
      if (e.kind == Event::Kind::token) got[e.id].push_back(e.token);
    EXPECT_LE(batch.cache_bytes(), batch.cache_limit());
  }
  for (size_t i = 0; i < requests.size(); ++i) {
    Session alone(shared, {}, bench.context);
    EXPECT_EQ(got[static_cast<int64_t>(i)],
              generate(alone, requests[i].prompt, requests[i].options).tokens)
        << i;
  }
}

// Drafts that run over the ends of blocks, and are refused before them.
TEST_P(Blocks, DraftsLeaveEveryTokenAsItIs) {
  Bench bench;
  const auto shared = model(bench);
  const auto lookup = lookup_drafter({.longest = 8, .shortest = 1});
  const auto itself = model_drafter(shared, bench.context);
  const auto other =
      model_drafter(long_model(bench, Numerics::exact, GetParam().kv), bench.context);
  std::vector<int32_t> prompt = some_ids(61, 1);
  for (int i = 0; i < 2; ++i) prompt.insert(prompt.end(), prompt.begin(), prompt.end());
  for (Drafter* drafter : {lookup.get(), itself.get(), other.get()}) {
    for (const int64_t begin : {235, 244}) {
      GenerateOptions options{.max_new_tokens = 300,
                              .sampler = {.repetition_penalty = begin == 235 ? 1.0 : 1.2},
                              .stop_ids = {}};
      const auto start = std::span<const int32_t>(prompt).first(static_cast<size_t>(begin));
      Session plain(shared, {}, bench.context), fast(shared, {}, bench.context);
      const GenerateResult wanted = generate(plain, start, options);
      options.drafter = drafter;
      options.draft = {.tokens = 17, .adaptive = false};
      const GenerateResult got = generate(fast, start, options);
      EXPECT_EQ(got.tokens, wanted.tokens);
      EXPECT_EQ(fast.position(), plain.position());
      EXPECT_GT(got.drafted, 0);
      if (drafter == lookup.get()) {
        EXPECT_GT(got.drafted, got.accepted);
      }
      // And on from there.
      options.max_new_tokens = 5;
      const auto more = some_ids(3, 9);
      const auto fast_tokens = generate(fast, more, options).tokens;
      options.drafter = nullptr;
      EXPECT_EQ(fast_tokens, generate(plain, more, options).tokens);
    }
  }
}

TEST_P(Blocks, WhatTheLastStepWroteIsTakenBackToAnyToken) {
  Bench bench;
  const auto shared = model(bench);
  const auto ids = some_ids(700, 1), others = some_ids(700, 2);
  Session session(shared, {.chunk = 600}, bench.context);
  const Matrix<float> wanted = all_logits(session, ids);
  const std::span<const int32_t> all(ids);
  for (const int64_t from : {200, 256, 300}) {
    for (const int64_t back : {1, 40, 213, 256, 257, 300, 399}) {
      session.reset();
      feed(session, 0, all.first(static_cast<size_t>(from)), 77);
      feed(session, 0, std::span<const int32_t>(others).first(400), 400);
      const int64_t to = from + 400 - back;
      ASSERT_EQ(session.truncate(to), to);
      // What was kept of the others is in the way: back to the text, in what is still the last step.
      ASSERT_EQ(session.truncate(from), from);
      ASSERT_EQ(feed(session, 0, all.subspan(static_cast<size_t>(from)), 33), row_of(wanted, 699));
    }
  }
}

TEST_P(Blocks, FromFurtherBackASequenceSaysWhereItGoesOn) {
  Bench bench;
  const auto shared = model(bench);
  const auto ids = some_ids(700, 1);
  Session session(shared, {.sequences = 2}, bench.context);
  Session alone(shared, {}, bench.context);
  const Matrix<float> wanted = all_logits(alone, ids);
  const std::span<const int32_t> all(ids);
  for (const int64_t to : {0, 1, 255, 256, 300, 511, 512, 513, 600, 690}) {
    const int64_t reached = to % 256 == 0 || to > 512 ? to : to / 256 * 256;
    session.reset();
    feed(session, 0, all.first(690), 3);
    ASSERT_EQ(session.fork(0, to, 1), reached);
    ASSERT_EQ(session.position(1), reached);
    // The copy goes its own way first, then its original, then the copy goes back.
    if (reached < 600) feed(session, 1, some_ids(100, 8), 50);
    ASSERT_EQ(session.truncate(to), reached);
    ASSERT_EQ(session.position(), reached);
    ASSERT_EQ(feed(session, 0, all.subspan(static_cast<size_t>(reached)), 100),
              row_of(wanted, 699));
    const int64_t again = session.truncate(reached, 1);
    ASSERT_LE(again, reached);
    ASSERT_EQ(feed(session, 1, all.subspan(static_cast<size_t>(again)), 1), row_of(wanted, 699));
    ASSERT_EQ(session.truncate(699), 699);
    ASSERT_EQ(feed(session, 0, all.subspan(699), 1), row_of(wanted, 699));
  }
}

// Questions behind long examples, answers behind questions; ends of texts near the ends of blocks.
TEST_P(Blocks, BranchesOfATreeAreThoseOfEachTextAlone) {
  Bench bench;
  const auto shared = model(bench);
  const auto shots = some_ids(240, 1);
  const auto joined = [](std::vector<int32_t> a, const std::vector<int32_t>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  };
  std::vector<std::vector<int32_t>> texts;
  for (uint64_t question = 0; question < 4; ++question)
    for (uint64_t answer = 0; answer < 3; ++answer)
      texts.push_back(
          joined(joined(shots, some_ids(10 + static_cast<int64_t>(question) * 90, 10 + question)),
                 some_ids(9 + static_cast<int64_t>(answer) * 100, 50 + answer)));
  std::vector<eval::WantedText> wanted;
  for (const auto& text : texts) wanted.push_back({text, std::ssize(text) - 9});
  using Rows = std::map<std::pair<int64_t, int64_t>, std::vector<float>>;
  const auto collect = [](Rows& rows) {
    return [&rows](std::span<const eval::TextRow> given) {
      for (const eval::TextRow& row : given)
        for (const int64_t text : row.texts)
          EXPECT_TRUE(
              rows.try_emplace({text, row.position}, row.logits.begin(), row.logits.end()).second);
    };
  };
  Rows alone;
  for (size_t i = 0; i < texts.size(); ++i) {
    Session session(shared, {}, bench.context);
    const Matrix<float> all = all_logits(session, texts[i]);
    for (int64_t p = wanted[i].first; p < std::ssize(texts[i]); ++p)
      alone[{static_cast<int64_t>(i), p}] = row_of(all, p);
  }
  RuntimeLogits source(shared, {}, bench.context);
  Rows one_by_one;
  source.LogitSource::each_text(wanted, collect(one_by_one));
  EXPECT_EQ(one_by_one, alone);
  for (const int64_t sequences : {1, 3, 16}) {
    for (const int64_t chunk : {50, 256}) {
      Session session(shared, {.chunk = chunk, .sequences = sequences}, bench.context);
      Rows rows;
      TreeWalk(session, wanted).run(collect(rows));
      EXPECT_EQ(rows, alone) << sequences << " sequences";
    }
  }
}

TEST(KvType, UnknownNamesListTheLegalOnes) {
  EXPECT_EQ(kv_type_from("int4"), KvType::i4);
  try {
    kv_type_from("int3");
    FAIL();
  } catch (const InputError& e) {
    EXPECT_EQ(e.line(),
              "error[E_USAGE] kv: unknown type of KV cache \"int3\"; one of: f32, f16, bf16, int8, "
              "int4, int2");
  }
}

}  // namespace
}  // namespace halftone::runtime
