// Requests that join and leave at any time get what they would get alone, to the token.
#include "halftone/runtime/batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <map>
#include <new>

#include "halftone/base/error.h"
#include "halftone/base/rng.h"
#include "halftone/runtime/test_quantized.h"
#include "halftone/runtime/test_support.h"

namespace {
std::atomic<int64_t> news{0};
}  // namespace

// Sanitizers bring an allocator of their own, which knows what belongs together.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kNewsAreCounted = false;
#else
constexpr bool kNewsAreCounted = true;
// The whole test program's; the other forms call these. Not inlined: the compiler would see free()
// of what came from new.
[[gnu::noinline]] void* operator new(std::size_t size) {
  ++news;
  void* p = std::malloc(size == 0 ? 1 : size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] void* operator new(std::size_t size, std::align_val_t alignment) {
  ++news;
  const auto a = static_cast<std::size_t>(alignment);
  void* p = std::aligned_alloc(a, (size + a - 1) / a * a);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
[[gnu::noinline]] void operator delete(void* p) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
[[gnu::noinline]] void operator delete(void* p, std::size_t, std::align_val_t) noexcept {
  std::free(p);
}
#endif

namespace halftone::runtime {
namespace {

using testing::Bench;
using testing::fixture;
using ::testing::HasSubstr;
using testing::some_ids;

// llama_gqa_untied with 4-bit weights in either numeric mode.
std::shared_ptr<const Model> int4_model(Bench& bench, Numerics numerics,
                                        KvType kv = KvType::by_numerics) {
  auto packed = std::make_shared<testing::Quantized>(
      pack::open_model(fixture("models/llama_gqa_untied"), bench.context),
      format::Format{.bits = 4, .group = 32}, false);
  return Model::load(std::move(packed), {.numerics = numerics, .kv = kv}, bench.context);
}

// Prompts of many lengths; greedy and sampled by turns, each with a stream and a length of its own.
Request some_request(int64_t i) {
  Request r{.prompt = some_ids(1 + i * 7 % 40, static_cast<uint64_t>(i)), .options = {}};
  r.options.max_new_tokens = 3 + i * 5 % 23;
  if (i % 3 != 0)
    r.options.sampler = {.temperature = 0.9,
                         .top_k = i % 2 != 0 ? 20 : 0,
                         .repetition_penalty = i % 4 == 1 ? 1.2 : 1.0,
                         .seed = 5,
                         .stream = static_cast<uint32_t>(i)};
  return r;
}

struct Got {
  std::vector<int32_t> tokens;
  std::vector<Stop> finished;
};
using All = std::map<int64_t, Got>;

void collect(std::span<const Event> events, All& all) {
  for (const Event& e : events) {
    Got& got = all[e.id];
    EXPECT_TRUE(got.finished.empty()) << "an event after the last of " << e.id;
    if (e.kind == Event::Kind::token)
      got.tokens.push_back(e.token);
    else
      got.finished.push_back(e.reason);
  }
}

struct Case {
  Numerics numerics;
  int64_t threads;
  KvType kv = KvType::by_numerics;
};
class Mixed : public ::testing::TestWithParam<Case> {};

TEST_P(Mixed, JoinsAndLeavesChangeNoToken) {
  Bench bench(GetParam().threads);
  const auto model = int4_model(bench, GetParam().numerics, GetParam().kv);
  constexpr int64_t kRequests = 24;
  std::vector<GenerateResult> wanted;
  for (int64_t i = 0; i < kRequests; ++i) {
    Session alone(model, {}, bench.context);
    const Request r = some_request(i);
    wanted.push_back(generate(alone, r.prompt, r.options));
  }
  for (const int64_t rows : {11, 40}) {
    Batch batch(model, {.sequences = 10, .rows = rows}, bench.context);
    All all;
    int64_t added = 0, steps = 0;
    // Five at once, then one every second step; two are cancelled, one while it waits.
    for (; added < 5; ++added) EXPECT_EQ(batch.add(some_request(added)), added);
    while (!batch.idle() || added < kRequests) {
      collect(batch.step(), all);
      if (++steps % 2 == 0 && added < kRequests) batch.add(some_request(added++));
      if (steps == 3) {
        EXPECT_TRUE(batch.cancel(1));
      }
      if (added == 12 && all.count(11) == 0) batch.cancel(11);
      EXPECT_LE(batch.running(), 10);
    }
    EXPECT_FALSE(batch.cancel(0));
    EXPECT_TRUE(batch.step().empty());
    for (int64_t i = 0; i < kRequests; ++i) {
      if (i == 1 || i == 11) continue;
      EXPECT_EQ(all[i].tokens, wanted[static_cast<size_t>(i)].tokens) << "request " << i;
      ASSERT_EQ(all[i].finished.size(), 1u) << i;
      EXPECT_EQ(all[i].finished[0], wanted[static_cast<size_t>(i)].reason) << i;
    }
    EXPECT_TRUE(all[1].finished.empty());
    EXPECT_TRUE(all[11].finished.empty());
  }
}

// Twelve requests with 30 tokens in common, four at a time: those that join later read only what
// is theirs, and get the tokens they get alone.
TEST_P(Mixed, ABeginningThatAnotherOneHasReadIsNotReadAgain) {
  Bench bench(GetParam().threads);
  const auto model = int4_model(bench, GetParam().numerics, GetParam().kv);
  const auto request = [](int64_t i) {
    Request r = some_request(i);
    const auto own = some_ids(i % 3 * 5, 60 + static_cast<uint64_t>(i % 3));
    r.prompt = some_ids(30, 99);
    r.prompt.insert(r.prompt.end(), own.begin(), own.end());
    return r;
  };
  Batch batch(model, {.sequences = 4}, bench.context);
  All all;
  int64_t tokens = 0;
  for (int64_t i = 0; i < 12; ++i) {
    batch.add(request(i));
    tokens += std::ssize(request(i).prompt);
  }
  while (!batch.idle()) collect(batch.step(), all);
  for (int64_t i = 0; i < 12; ++i) {
    Session alone(model, {}, bench.context);
    const GenerateResult wanted = generate(alone, request(i).prompt, request(i).options);
    EXPECT_EQ(all[i].tokens, wanted.tokens) << "request " << i;
    tokens += std::max<int64_t>(0, std::ssize(wanted.tokens) - 1);
  }
  EXPECT_LE(batch.rows_done(), tokens - 8 * 29);
}

INSTANTIATE_TEST_SUITE_P(Modes, Mixed,
                         ::testing::Values(Case{Numerics::exact, 1}, Case{Numerics::exact, 2},
                                           Case{Numerics::int8, 1}, Case{Numerics::int8, 2},
                                           Case{Numerics::int8, 2, KvType::bf16}),
                         [](const auto& test) {
                           return std::string(numerics_name(test.param.numerics)) + "_" +
                                  (test.param.kv == KvType::bf16 ? "bf16_" : "") +
                                  std::to_string(test.param.threads);
                         });

// Logits themselves, not only what is drawn from them: three sequences go on by random numbers of
// tokens, most often one, and rows are asked for out of the middle.
void go_on_apart(const std::shared_ptr<const Model>& model, int64_t length, Bench& bench) {
  const int64_t vocabulary = model->vocabulary();
  Session many(model, {.chunk = 64, .sequences = 3}, bench.context);
  const CounterRng rng(3);
  std::vector<std::vector<int32_t>> ids;
  std::vector<Matrix<float>> wanted;
  for (uint64_t s = 0; s < 3; ++s) {
    ids.push_back(some_ids(length, 40 + s));
    Session alone(model, {}, bench.context);
    wanted.push_back(testing::all_logits(alone, ids.back()));
  }
  uint64_t draw = 0;
  while (many.position(0) + many.position(1) + many.position(2) < 3 * length) {
    std::vector<Append> parts;
    std::vector<int64_t> rows;
    std::vector<std::span<const float>> expected;
    int64_t row = 0;
    for (int64_t s = 2; s >= 0; --s) {
      const int64_t at = many.position(s);
      const int64_t wish = static_cast<int64_t>(rng.u32(draw++) % 48) - 27;
      const int64_t n = std::min(length - at, wish < -8 ? 1 : std::max<int64_t>(wish, 0));
      if (n == 0) continue;
      parts.push_back({s, std::span<const int32_t>(ids[static_cast<size_t>(s)])
                              .subspan(static_cast<size_t>(at), static_cast<size_t>(n))});
      for (int64_t t = 0; t < n; ++t, ++row) {
        if (t != n - 1 && t % 3 != 0) continue;
        rows.push_back(row);
        expected.push_back(wanted[static_cast<size_t>(s)].row(at + t));
      }
    }
    if (parts.empty()) continue;
    many.advance(parts);
    std::vector<float> out(rows.size() * static_cast<size_t>(vocabulary));
    many.logits(rows, out);
    for (size_t i = 0; i < rows.size(); ++i)
      ASSERT_TRUE(std::equal(expected[i].begin(), expected[i].end(),
                             out.begin() + static_cast<std::ptrdiff_t>(i) * vocabulary))
          << "row " << rows[i] << " at " << many.position(0) << " " << many.position(1) << " "
          << many.position(2);
  }
}

TEST(Session, PartsAtDifferentPositionsGetTheBitsTheyGetAlone) {
  for (const int64_t threads : {1, 2}) {
    Bench bench(threads);
    for (const Numerics numerics : {Numerics::exact, Numerics::int8})
      for (const KvType kv : {KvType::by_numerics, KvType::bf16})
        go_on_apart(int4_model(bench, numerics, kv), 128, bench);
    for (const char* name : {"models/mistral_window", "models/gpt2_tiny"}) {
      const auto model = bench.load(fixture(name));
      go_on_apart(model, std::min<int64_t>(model->context_length(), 100), bench);
    }
  }
}

// Past the first block of keys, where decode is split over blocks.
TEST(Session, LongPartsToo) {
  if (const std::string missing = tests::without_data("models/stories260k"); !missing.empty())
    GTEST_SKIP() << missing;
  for (const int64_t threads : {1, 2}) {
    Bench bench(threads);
    for (const KvType kv : {KvType::f32, KvType::bf16})
      go_on_apart(bench.load(tests::data_path("models/stories260k"), {.kv = kv}), 400, bench);
  }
}

TEST(Session, ATruncatedSequenceGoesOnAsIfTheRestHadNeverBeen) {
  Bench bench;
  for (const Numerics numerics : {Numerics::exact, Numerics::int8}) {
    const auto model =
        int4_model(bench, numerics, numerics == Numerics::int8 ? KvType::bf16 : KvType::f32);
    Session session(model, {}, bench.context);
    const auto ids = some_ids(30, 1);
    const Matrix<float> wanted = testing::all_logits(session, ids);
    session.truncate(11);
    session.feed(some_ids(9, 2));
    session.truncate(10);
    EXPECT_EQ(session.position(), 10);
    const auto row = session.feed(std::span(ids).subspan(10));
    EXPECT_TRUE(std::equal(row.begin(), row.end(), wanted.row(29).begin()));
  }
}

TEST(Batch, WaitsWhileMemoryIsShortAndRefusesWhatCanNeverFit) {
  Bench bench;
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  const Session one(model, {}, bench.context);
  const uint64_t block = one.cache_bytes_for(1);
  Batch batch(model, {.sequences = 8, .cache_bytes = 3 * block}, bench.context);
  EXPECT_EQ(batch.cache_limit(), 3 * block);
  for (int64_t i = 0; i < 7; ++i) batch.add(some_request(i));  // one block each
  All all;
  while (!batch.idle()) {
    collect(batch.step(), all);
    EXPECT_LE(batch.running(), 3);
    EXPECT_LE(batch.cache_bytes(), 3 * block);
  }
  EXPECT_EQ(all.size(), 7u);
  Batch tight(model, {.sequences = 2, .cache_bytes = block - 1}, bench.context);
  try {
    tight.add(some_request(0));
    FAIL() << "a text that cannot fit was queued";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::budget);
    EXPECT_THAT(e.line(), HasSubstr("the limit for all texts together"));
  }
  EXPECT_TRUE(tight.idle());
  EXPECT_THROW(tight.add({.prompt = {}, .options = {}}), InputError);
  EXPECT_THROW(tight.add({.prompt = {100000}, .options = {}}), InputError);
  EXPECT_THROW(
      tight.add({.prompt = std::vector<int32_t>(static_cast<size_t>(model->context_length()) + 1),
                 .options = {}}),
      InputError);
}

TEST(Batch, AFullContextStopsATextAsItDoesAlone) {
  Bench bench;
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  Session alone(model, {.max_tokens = 8}, bench.context);
  const GenerateResult wanted =
      generate(alone, some_ids(6, 1), {.max_new_tokens = 12, .sampler = {}, .stop_ids = {}});
  ASSERT_EQ(wanted.reason, Stop::full);
  Batch batch(model, {.sequences = 2, .max_tokens = 8}, bench.context);
  batch.add({.prompt = some_ids(6, 1), .options = {.max_new_tokens = 12}});
  batch.add({.prompt = some_ids(6, 1),
             .options = {.max_new_tokens = 12, .sampler = {}, .stop_ids = {wanted.tokens[0]}}});
  All all;
  while (!batch.idle()) collect(batch.step(), all);
  EXPECT_EQ(all[0].tokens, wanted.tokens);
  EXPECT_EQ(all[0].finished, std::vector{Stop::full});
  EXPECT_TRUE(all[1].tokens.empty());
  EXPECT_EQ(all[1].finished, std::vector{Stop::stop_id});
}

TEST(Batch, AStoppedStepLosesNothing) {
  Bench bench;
  std::atomic<bool> stop{false};
  bench.context.stop = &stop;
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  Session alone(model, {}, bench.context);
  const Request r = some_request(4);
  const auto wanted = generate(alone, r.prompt, r.options).tokens;
  Batch batch(model, {}, bench.context);
  batch.add(r);
  All all;
  collect(batch.step(), all);
  stop = true;
  EXPECT_THROW(batch.step(), Error);
  stop = false;
  while (!batch.idle()) collect(batch.step(), all);
  EXPECT_EQ(all[0].tokens, wanted);
}

// 64 tokens of decode after sizes have settled; the first steps size buffers, and 100 positions lie
// in one block of cache.
TEST(Batch, DecodeAllocatesNothing) {
  if (!kNewsAreCounted) GTEST_SKIP() << "the sanitizer allocates";
  for (const auto& [numerics, kv] :
       {std::pair{Numerics::exact, KvType::f32}, std::pair{Numerics::int8, KvType::f16},
        std::pair{Numerics::int8, KvType::bf16}, std::pair{Numerics::int8, KvType::i4}}) {
    for (const int64_t threads : {1, 2}) {
      Bench bench(threads);
      const auto model = int4_model(bench, numerics, kv);
      const SamplerOptions sampled{.temperature = 0.8, .top_k = 40, .top_p = 0.95, .seed = 1};
      for (const int64_t sequences : {1, 5, 12}) {
        Batch batch(model, {.sequences = sequences}, bench.context);
        for (int64_t s = 0; s < sequences; ++s) {
          Request r{.prompt = some_ids(10 + s, 7), .options = {.max_new_tokens = 80}};
          if (s % 2 != 0) r.options.sampler = sampled;
          batch.add(std::move(r));
        }
        for (int64_t i = 0; i < 8; ++i) batch.step();
        ASSERT_EQ(batch.running(), sequences);
        const int64_t before = news;
        for (int64_t i = 0; i < 64; ++i) batch.step();
        EXPECT_EQ(news - before, 0) << numerics_name(numerics) << ", " << threads << " threads, "
                                    << sequences << " sequences";
      }
      // generate() too: between its 8th and its 72nd token.
      for (const SamplerOptions& sampler : {SamplerOptions{}, sampled}) {
        Session session(model, {}, bench.context);
        int64_t seen = 0, before = 0, after = 0;
        generate(session, some_ids(10, 7), {.max_new_tokens = 80, .sampler = sampler},
                 [&](int32_t) {
                   if (++seen == 8) before = news;
                   if (seen == 72) after = news;
                   return true;
                 });
        EXPECT_EQ(after - before, 0) << numerics_name(numerics) << ", " << threads << " threads";
      }
    }
  }
}

// Between two ends of blocks, behind closed ones.
TEST(Session, DecodeBehindClosedBlocksAllocatesNothing) {
  if (!kNewsAreCounted) GTEST_SKIP() << "the sanitizer allocates";
  for (const int64_t threads : {1, 2}) {
    Bench bench(threads);
    const auto model =
        Model::load(std::make_shared<testing::Longer>(
                        pack::open_model(fixture("models/llama_gqa_untied"), bench.context), 1024),
                    {.kv = KvType::i4}, bench.context);
    Session session(model, {}, bench.context);
    const auto ids = some_ids(760, 7);
    const std::span<const int32_t> all(ids);
    session.feed(all.first(530));
    session.feed(all.subspan(530, 1));
    const int64_t before = news;
    for (size_t t = 531; t < 760; ++t) session.feed(all.subspan(t, 1));
    EXPECT_EQ(news - before, 0) << threads << " threads";
  }
}

}  // namespace
}  // namespace halftone::runtime
