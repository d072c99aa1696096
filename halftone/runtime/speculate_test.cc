// Drafting changes the speed and nothing else: the text where proposals are certain, the
// distribution where they are drawn.
#include "halftone/runtime/speculate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "halftone/base/error.h"
#include "halftone/base/rng.h"
#include "halftone/runtime/generate.h"
#include "halftone/runtime/test_quantized.h"
#include "halftone/runtime/test_support.h"

namespace halftone::runtime {
namespace {

using testing::Bench;
using testing::fixture;
using ::testing::HasSubstr;
using testing::some_ids;
using Distribution = std::vector<TokenProbability>;

Distribution random_distribution(const CounterRng& rng, uint64_t which, int32_t tokens) {
  Distribution d;
  double sum = 0;
  for (int32_t id = 0; id < tokens; ++id) {
    const double u = rng.uniform(which * 64 + static_cast<uint64_t>(id));
    if (u < 0.3) continue;  // supports differ
    d.push_back({id, u * u * u});
    sum += d.back().probability;
  }
  if (d.empty()) return {{0, 1.0}};
  for (auto& t : d) t.probability /= sum;
  return d;
}

double at(const Distribution& d, int32_t id) {
  for (const auto& t : d)
    if (t.id == id) return t.probability;
  return 0;
}

// Upper bound of chi-square with `df` degrees of freedom that chance exceeds once in 10^6 runs:
// Wilson and Hilferty's cube of a normal, whose quantile is 4.753.
double chi_square_limit(int64_t df) {
  const double n = static_cast<double>(df), c = 2.0 / (9.0 * n);
  return n * std::pow(1 - c + 4.753 * std::sqrt(c), 3);
}

// Counts against expected counts; cells that expect fewer than 8 are thrown together.
struct ChiSquare {
  double value = 0;
  int64_t df = -1;
  double rest_seen = 0, rest_expected = 0;
  void cell(double seen, double expected) {
    if (expected < 8) {
      rest_seen += seen;
      rest_expected += expected;
      return;
    }
    value += (seen - expected) * (seen - expected) / expected;
    ++df;
  }
  void finish() {
    if (rest_expected >= 8) {
      const double seen = rest_seen, expected = rest_expected;
      rest_seen = rest_expected = 0;
      cell(seen, expected);
    } else {
      EXPECT_LE(rest_seen, rest_expected + 5 * std::sqrt(rest_expected) + 5);
    }
  }
};

TEST(Verify, TheResidualIsWhatTheAcceptedShareLeavesOver) {
  const CounterRng rng(11);
  for (uint64_t n = 0; n < 200; ++n) {
    const Distribution p = random_distribution(rng, 2 * n, 6),
                       q = random_distribution(rng, 2 * n + 1, 6);
    const Distribution left = residual(p, q);
    // Brute force: P(token) = q(token) min(1, p / q) + P(refused) residual(token) must be p(token).
    double refused = 0;
    for (const auto& t : q)
      refused += t.probability * (1 - std::min(1.0, at(p, t.id) / t.probability));
    for (int32_t id = 0; id < 6; ++id) {
      const double qx = at(q, id);
      const double made =
          (qx > 0 ? qx * std::min(1.0, at(p, id) / qx) : 0) + refused * at(left, id);
      EXPECT_NEAR(made, at(p, id), 1e-12) << n << " " << id;  // a dozen sums of numbers below 1
    }
  }
  const Distribution same = {{1, 0.25}, {4, 0.75}};
  EXPECT_EQ(residual(same, same), same);
}

TEST(Verify, AcceptsByTheRatioAndDrawsTheRestFromTheResidual) {
  const Distribution p = {{0, 0.2}, {1, 0.5}, {2, 0.3}}, q = {{0, 0.8}, {1, 0.2}};
  EXPECT_TRUE(verify(p, q, 1, 0.999, 0).accepted);  // p > q: always
  EXPECT_TRUE(verify(p, q, 0, 0.249, 0).accepted);  // 0.2 / 0.8
  const Verdict refused = verify(p, q, 0, 0.251, 0.49);
  EXPECT_FALSE(refused.accepted);
  EXPECT_EQ(refused.token, 1);  // residual: 1 and 2 with a half each
  EXPECT_EQ(verify(p, q, 0, 0.251, 0.51).token, 2);
  EXPECT_FALSE(verify(q, p, 2, 0.0, 0).accepted);  // the sampler has ruled token 2 out
}

TEST(Lookup, ProposesWhatFollowedTheLongestMatch) {
  const auto drafter = lookup_drafter({.longest = 3, .shortest = 2});
  const auto propose = [&](const std::vector<int32_t>& text, int64_t count) {
    Draft d;
    drafter->propose(text, count, 0, d);
    return std::vector<int32_t>(d.tokens().begin(), d.tokens().end());
  };
  using Ids = std::vector<int32_t>;
  EXPECT_EQ(propose({5, 1, 2, 7, 8, 3, 1, 2}, 3), (Ids{7, 8, 3}));
  EXPECT_EQ(propose({9, 1, 2, 4, 6, 1, 2, 8, 9, 1, 2}, 2), (Ids{4, 6}));  // three tokens beat two
  EXPECT_EQ(propose({1, 2, 4, 6, 1, 2, 8, 3, 1, 2}, 1), (Ids{8}));        // of equals the last
  EXPECT_EQ(propose({1, 2, 3, 2}, 4), Ids{});                             // one token is no match
  EXPECT_EQ(propose({6, 7, 8, 7, 8}, 5), (Ids{7, 8, 7, 8, 7}));           // goes on into itself
  EXPECT_EQ(propose({3}, 2), Ids{});
  EXPECT_EQ(propose({}, 2), Ids{});
}

// Models of different weights and one vocabulary: 4-bit of the same, another seed, itself.
std::shared_ptr<const Model> int4_model(Bench& bench, int64_t bits) {
  return Model::load(std::make_shared<testing::Quantized>(
                         pack::open_model(fixture("models/llama_gqa_untied"), bench.context),
                         format::Format{.bits = bits, .group = 32}, false),
                     {.numerics = Numerics::int8}, bench.context);
}

// What the session holds afterwards, too: the next generation goes on from it.
void expect_same(const GenerateResult& a, const GenerateResult& b, const Session& sa,
                 const Session& sb) {
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.reason, b.reason);
  EXPECT_EQ(a.decoded, b.decoded);
  EXPECT_EQ(sa.position(), sb.position());
}

TEST(Speculate, CertainProposalsLeaveEveryTokenAsItIs) {
  for (const int64_t threads : {1, 2}) {
    Bench bench(threads);
    const auto model = int4_model(bench, 4);
    const auto worse = int4_model(bench, 2);
    const auto lookup = lookup_drafter({.longest = 8, .shortest = 1});
    const auto itself = model_drafter(model, bench.context);
    const auto other = model_drafter(worse, bench.context);
    // Text that repeats, so that look-ups find something.
    std::vector<int32_t> prompt = some_ids(7, 1);
    prompt.insert(prompt.end(), prompt.begin(), prompt.end());
    for (const bool adaptive : {false, true}) {
      for (const double temperature : {0.0, 0.4}) {
        for (Drafter* drafter : {lookup.get(), itself.get(), other.get()}) {
          if (drafter->draws() && temperature > 0) continue;
          int64_t accepted = 0, drafted = 0;
          for (uint64_t seed = 0; seed < 6; ++seed) {
            GenerateOptions options{.max_new_tokens = 60,
                                    .sampler = {.temperature = temperature,
                                                .top_k = 12,
                                                .repetition_penalty = seed % 2 == 0 ? 1.0 : 1.1,
                                                .seed = seed},
                                    .stop_ids = {}};
            if (seed == 3) options.max_new_tokens = 11;
            Session plain(model, {.max_tokens = seed == 4 ? 50 : 0}, bench.context);
            Session fast(model, {.max_tokens = seed == 4 ? 50 : 0}, bench.context);
            if (seed == 5) options.stop_ids = some_ids(20, 3);
            const GenerateResult wanted = generate(plain, prompt, options);
            options.drafter = drafter;
            options.draft = {.tokens = 5, .adaptive = adaptive};
            const GenerateResult got = generate(fast, prompt, options);
            expect_same(wanted, got, plain, fast);
            accepted += got.accepted;
            drafted += got.drafted;
            EXPECT_LE(got.steps, wanted.steps);
            // A callback that stops in the middle of accepted tokens.
            plain.reset();
            fast.reset();
            const auto five = [n = 0](int32_t) mutable { return ++n < 5; };
            const GenerateResult fast_part = generate(fast, prompt, options, five);
            options.drafter = nullptr;
            expect_same(generate(plain, prompt, options, five), fast_part, plain, fast);
            // And on from there.
            if (wanted.reason == Stop::full) continue;
            const auto more = some_ids(3, 9);
            const GenerateResult next = generate(plain, more, options, five, prompt);
            options.drafter = drafter;
            expect_same(next, generate(fast, more, options, five, prompt), plain, fast);
          }
          if (!adaptive) {
            EXPECT_GT(drafted, 0);
          }
          if (drafter == itself.get()) {
            EXPECT_EQ(accepted, drafted);
          }
        }
      }
    }
  }
}

// Probability of each text of `length` tokens after `prompt` when the sampler draws directly.
void enumerate(Session& session, Sampler& sampler, std::vector<int32_t>& text, size_t end,
               double probability, std::map<std::vector<int32_t>, double>& out, size_t prompt) {
  if (text.size() == end) {
    out[{text.begin() + static_cast<std::ptrdiff_t>(prompt), text.end()}] += probability;
    return;
  }
  session.reset();
  const auto view = sampler.distribution(session.feed(text), text);
  for (const TokenProbability& t : Distribution(view.begin(), view.end())) {
    text.push_back(t.id);
    enumerate(session, sampler, text, end, probability * t.probability, out, prompt);
    text.pop_back();
  }
}

// The joint distribution of four tokens, drafted by another model, against the exact one: 12,000
// seeds, chi-square over all texts. That the test would see a small bias is tested with it.
TEST(Speculate, DrawnProposalsLeaveTheDistributionAsItIs) {
  Bench bench(1);
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  const auto other = bench.load(fixture("models/llama_mha_tied"));
  ASSERT_EQ(model->vocabulary(), other->vocabulary());
  const std::vector<int32_t> prompt = some_ids(5, 21);
  const std::vector<SamplerOptions> samplers = {
      {.temperature = 0.7, .top_k = 5},
      {.temperature = 1.5, .top_k = 8, .top_p = 0.7, .repetition_penalty = 1.3},
      {.temperature = 0.5, .top_k = 9, .min_p = 0.3}};
  for (const SamplerOptions& base : samplers) {
    std::map<std::vector<int32_t>, double> exact;
    {
      Session session(model, {}, bench.context);
      Sampler sampler(base);
      std::vector<int32_t> text = prompt;
      enumerate(session, sampler, text, prompt.size() + 4, 1, exact, prompt.size());
    }
    Session session(model, {}, bench.context);
    const auto drafter = model_drafter(other, bench.context);
    constexpr int64_t kSeeds = 12000;
    std::map<std::vector<int32_t>, double> seen;
    int64_t accepted = 0, drafted = 0;
    for (int64_t seed = 0; seed < kSeeds; ++seed) {
      GenerateOptions options{.max_new_tokens = 4, .sampler = base, .stop_ids = {}};
      options.sampler.seed = static_cast<uint64_t>(seed);
      options.drafter = drafter.get();
      options.draft = {.tokens = 3, .adaptive = seed % 2 == 0};
      session.reset();
      const GenerateResult r = generate(session, prompt, options);
      ++seen[r.tokens];
      accepted += r.accepted;
      drafted += r.drafted;
    }
    EXPECT_GT(accepted, kSeeds / 50) << "nothing was accepted: no test of acceptance";
    EXPECT_LT(accepted, drafted - kSeeds / 50) << "nothing was refused: no test of residuals";
    const auto statistic = [&](const std::map<std::vector<int32_t>, double>& counts) {
      ChiSquare chi;
      for (const auto& [text, probability] : exact) {
        const auto it = counts.find(text);
        chi.cell(it == counts.end() ? 0.0 : it->second, probability * static_cast<double>(kSeeds));
      }
      chi.finish();
      return chi;
    };
    for (const auto& [text, count] : seen)
      EXPECT_TRUE(exact.contains(text)) << "an impossible text";
    const ChiSquare chi = statistic(seen);
    EXPECT_GT(chi.df, 8);
    EXPECT_LT(chi.value, chi_square_limit(chi.df)) << "df " << chi.df;
    // The power of it: six in a hundred of the other texts counted as the most probable one.
    std::map<std::vector<int32_t>, double> moved = seen;
    const auto most =
        std::max_element(exact.begin(), exact.end(),
                         [](const auto& a, const auto& b) { return a.second < b.second; });
    for (auto& [text, count] : moved) {
      const double share = text == most->first ? 0 : 0.06 * count;
      count -= share;
      moved[most->first] += share;
    }
    EXPECT_GT(statistic(moved).value, chi_square_limit(statistic(moved).df));
  }
}

TEST(Speculate, ASeedFixesTheTextThoughTheDraftIsDrawn) {
  Bench bench;
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  const auto drafter = model_drafter(bench.load(fixture("models/llama_mha_tied")), bench.context);
  GenerateOptions options{.max_new_tokens = 100,
                          .sampler = {.temperature = 1, .seed = 4},
                          .stop_ids = {},
                          .drafter = drafter.get(),
                          .draft = {}};
  Session session(model, {}, bench.context);
  const auto first = generate(session, some_ids(5, 1), options);
  session.reset();
  const auto again = generate(session, some_ids(5, 1), options);
  EXPECT_EQ(first.tokens, again.tokens);
  EXPECT_EQ(first.steps, again.steps);
}

TEST(Speculate, ADraftOfAnotherVocabularyIsRefusedByName) {
  Bench bench;
  if (const std::string missing = tests::without_data("models/stories260k"); !missing.empty())
    GTEST_SKIP() << missing;
  const auto model = bench.load(fixture("models/llama_gqa_untied"));
  const auto drafter =
      model_drafter(bench.load(tests::data_path("models/stories260k")), bench.context);
  Session session(model, {}, bench.context);
  GenerateOptions options;
  options.drafter = drafter.get();
  try {
    generate(session, some_ids(3, 1), options);
    FAIL() << "another vocabulary went through";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::mismatch);
    EXPECT_THAT(e.line(), HasSubstr("stories260k"));
    EXPECT_THAT(e.line(), HasSubstr("llama_gqa_untied"));
    EXPECT_THAT(e.line(), HasSubstr("512"));
  }
}

// Steps of a machine where a row more costs `row` of a step, drafts of which a share is accepted.
struct Machine {
  double draft_s = 0, row = 0, share = 0;
  double seconds = 0, tokens = 0;
  int64_t tries = 0;
  void run(DraftControl& control, int64_t steps) {
    const CounterRng rng(5);
    for (int64_t i = 0; i < steps; ++i) {
      const int64_t k = control.choose();
      tries += k > 0 ? 1 : 0;
      int64_t accepted = 0;
      while (accepted < k && rng.uniform(static_cast<uint64_t>(i * 32 + accepted)) < share)
        ++accepted;
      const double noise = i % 97 == 96 ? 10 : 1;  // the system was busy
      const DraftControl::Round round{.drafted = k,
                                      .accepted = accepted,
                                      .step_s = noise * (1 + row * static_cast<double>(k)),
                                      .draft_s = draft_s * static_cast<double>(k)};
      control.record(round);
      seconds += round.step_s / noise + round.draft_s;
      tokens += static_cast<double>(accepted + 1);
    }
  }
};

TEST(DraftControl, DraftsWhatPaysAndStopsWhereNothingDoes) {
  {
    DraftControl control({.tokens = 8}, std::nullopt);
    Machine good{.draft_s = 0.001, .row = 0.05, .share = 0.95};
    good.run(control, 600);
    // With 8 tokens: (1 - 0.95^9) / 0.05 / 1.4 = 5.3 times the rate; the start is slower.
    EXPECT_GT(good.tokens / good.seconds, 4.5);
  }
  {
    DraftControl control({.tokens = 8}, std::nullopt);
    Machine hopeless{.draft_s = 0.1, .row = 0.1, .share = 0.02};
    hopeless.run(control, 2000);
    EXPECT_GT(hopeless.tokens / hopeless.seconds, 0.98);
    EXPECT_GT(hopeless.tries, 5);                               // but it does look again
    hopeless = {.draft_s = 0.001, .row = 0.05, .share = 0.98};  // the text begins to repeat
    hopeless.run(control, 600);
    EXPECT_GT(hopeless.tokens / hopeless.seconds, 2);
  }
  {
    DraftControl control({.tokens = 8}, std::nullopt);
    Machine dear{.draft_s = 0.9, .row = 0.0, .share = 0.8};  // a draft as large as the model
    dear.run(control, 2000);
    EXPECT_GT(dear.tokens / dear.seconds, 0.97);
  }
  EXPECT_THROW(DraftControl({.tokens = 0}, std::nullopt), InputError);
}

}  // namespace
}  // namespace halftone::runtime
