#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "halftone/base/error.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"
#include "halftone/eval/divergence.h"
#include "halftone/eval/log_histogram.h"
#include "halftone/eval/perplexity.h"
#include "halftone/eval/rows.h"
#include "halftone/eval/task.h"
#include "halftone/eval/test_source.h"
#include "halftone/files/test_files.h"

namespace halftone::eval {
namespace {

using testing_eval::ToySource;

std::vector<double> softmax(std::span<const float> row) {
  std::vector<double> out;
  double sum = 0;
  for (float v : row) out.push_back(std::exp(static_cast<double>(v))), sum += out.back();
  for (double& v : out) v /= sum;
  return out;
}

class Eval : public testing::Test {
 protected:
  Eval() {
    context.pool = &pool;
    context.threads = 2;
    const CounterRng rng(3);
    for (uint64_t i = 0; i < 333; ++i) ids.push_back(static_cast<int32_t>(rng.u32(i) % 50));
  }
  double brute_nll(ToySource& source, std::span<const int32_t> window, int64_t target) {
    double out = 0;
    source.each_row(window, 0, [&](int64_t position, std::span<const float> row) {
      if (position + 1 != target) return;
      double sum = 0;
      for (float v : row) sum += std::exp(static_cast<double>(v));
      out = std::log(sum) -
            static_cast<double>(row[static_cast<size_t>(window[static_cast<size_t>(target)])]);
    });
    return out;
  }
  ThreadPool pool{2};
  Context context;
  std::vector<int32_t> ids;
};

TEST(Windows, GptqProtocolDropsTheTailAndScoresAllButTheFirst) {
  // WikiText-2 test under SmolLM2's tokenizer (docs/evaluation.md says how many tokens and why).
  const Protocol p = gptq_windows(304978, 2048);
  EXPECT_EQ(p.windows.size(), 148u);
  EXPECT_EQ(p.dropped, 304978 - 148 * 2048);
  EXPECT_EQ(gptq_windows(304978, 2048, 148).dropped, p.dropped);
  EXPECT_EQ(gptq_windows(304978, 2048, 147).dropped, 0);  // asked for
  EXPECT_EQ(p.name, "gptq-2048");
  EXPECT_EQ(gptq_windows(304978, 2048, 20).windows.size(), 20u);
}

TEST(Windows, StridedProtocolScoresEveryTokenOnce) {
  const Protocol p = strided_windows(5000, 2048, 512);
  int64_t expected = 1;
  for (const Window& w : p.windows) {
    EXPECT_EQ(w.first_target, expected);
    expected = w.end;
  }
  EXPECT_EQ(expected, 5000);
  EXPECT_EQ(p.windows[0].weight, 2047);  // labels kept minus one, as in the guide
  EXPECT_EQ(p.windows[1].weight, 511);
  EXPECT_EQ(p.dropped, 0);
  const Protocol one_more = strided_windows(2048 + 512 + 1, 2048, 512);
  EXPECT_EQ(one_more.windows.size(), 2u);
  EXPECT_EQ(one_more.dropped, 1);
}

TEST(Windows, AStrideWiderThanTheWindowIsRefused) {
  EXPECT_EQ(strided_windows(5000, 512, 512).windows.size(), 10u);
  try {
    strided_windows(5000, 512, 513);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.line(),
              "error[E_USAGE] stride: 513 is more than the window of 512 tokens, so text would be "
              "left out; 512 is usual, the window the most");
  }
}

TEST_F(Eval, PerplexityEqualsTheDirectSum) {
  ToySource source(50, 0, 7);
  const Protocol protocol = gptq_windows(333, 32, 3);
  const Perplexity got = perplexity(source, ids, protocol, context);
  double sum = 0;
  for (int64_t w = 0; w < 3; ++w)
    for (int64_t t = 1; t < 32; ++t)
      sum += brute_nll(source,
                       std::span<const int32_t>(ids).subspan(static_cast<size_t>(w * 32), 32), t);
  EXPECT_NEAR(got.mean_nll, sum / 93, 1e-6);  // f32 exp: 1e-7 relative per term
  EXPECT_EQ(got.tokens, 93);
  EXPECT_LT(got.ci95[0], got.perplexity);
  EXPECT_GT(got.ci95[1], got.perplexity);
}

TEST_F(Eval, StridedPerplexityUsesTheGuidesWeights) {
  ToySource source(50, 0, 64);
  const Protocol protocol = strided_windows(100, 40, 16);
  const Perplexity got = perplexity(source, ids, protocol, context);
  double sum = 0, weight = 0;
  int64_t previous = 0;
  for (int64_t begin = 0; begin < 100; begin += 16) {
    const int64_t end = std::min<int64_t>(begin + 40, 100), target_length = end - previous;
    const auto window = std::span<const int32_t>(ids).subspan(static_cast<size_t>(begin),
                                                              static_cast<size_t>(end - begin));
    double loss = 0;
    int64_t count = 0;
    for (int64_t t = std::max(previous, begin + 1); t < end; ++t, ++count)
      loss += brute_nll(source, window, t - begin);
    sum += loss / static_cast<double>(count) * static_cast<double>(target_length - 1);
    weight += static_cast<double>(target_length - 1);
    previous = end;
    if (end == 100) break;
  }
  EXPECT_NEAR(got.mean_nll, sum / weight, 1e-6);
}

// A small data folder, and the one text that each task makes of it, written out: which part of the
// set, how rows are joined, that nothing is lost. The tokenizer is the byte.
class EveryTask : public Eval {
 protected:
  EveryTask() {
    context.env = &folder.env();
    for (const char* set : {"wikitext2", "ptb", "c4"})
      folder.env().make_directories(folder.in(set));
    folder.write("wikitext2/test.txt", " \n = A title = \n \n Some text , here . \n And more . \n");
    folder.write("wikitext2/valid.txt", "not this part, not this part, not this part\n");
    folder.write("ptb/ptb.valid.txt", " the first sentence \n a second one of <unk> words \n");
    folder.write("ptb/ptb.test.txt", " not this part \n not this part \n not this part \n");
    folder.write(
        "c4/c4_fragments.jsonl",
        "{\"text\":\"A document,\\ntwo lines.\"}\n{\"text\":\"Another document here.\"}\n");
    folder.write("c4/c4_demo.jsonl", "{\"text\":\"not this part, not this part, no\"}\n");
  }
  const std::map<std::string, std::string> texts = {
      {"wikitext2", "\n\n = A title = \n\n\n\n\n Some text , here . \n\n\n And more . \n"},
      {"ptb", "the first sentence\n\na second one of <unk> words"},
      {"c4", "A document,\ntwo lines. Another document here."}};
  // What is not the whole published split says so.
  const std::map<std::string, std::string> labels = {
      {"wikitext2", "wikitext2 test"}, {"ptb", "ptb validation"}, {"c4", "c4-partial validation"}};
  files::testing_files::TempFolder folder;
};

TEST_F(EveryTask, GivesThePerplexityOfItsTextSummedByHand) {
  ToySource source(256, 0, 7);
  std::vector<int32_t> seen;
  const TaskInput input{.source = source,
                        .encode =
                            [&](std::string_view text) {
                              seen.assign(text.begin(), text.end());
                              return seen;
                            },
                        .places = {.data_dir = folder.path(), .hub_cache = "", .parquet = {}},
                        .limit = 0,
                        .stride = 0,
                        .window = 12,
                        .log_sample = {},
                        .context = context};
  for (const auto& [name, task] : entries()) {
    if (task.of_items) continue;  // choice_test.cc
    ASSERT_TRUE(texts.contains(name)) << "task " << name << " has no known answer in this test";
    EXPECT_NO_THROW(check_data(task, input.places, folder.env()));
    const TaskResult result = task.run(input);
    EXPECT_EQ(std::string(seen.begin(), seen.end()), texts.at(name));
    double sum = 0;
    const size_t windows = seen.size() / 12;
    for (size_t w = 0; w < windows; ++w)
      for (int64_t t = 1; t < 12; ++t)
        sum += brute_nll(source, std::span<const int32_t>(seen).subspan(12 * w, 12), t);
    const double want = std::exp(sum / static_cast<double>(11 * windows));
    ASSERT_EQ(result.metrics.size(), 1u);
    EXPECT_EQ(result.metrics[0].name, "perplexity");
    EXPECT_NEAR(result.metrics[0].value, want, 1e-5 * want);  // f32 exp: 1e-7 relative per term
    EXPECT_EQ(result.json["perplexity"], result.metrics[0].value);
    EXPECT_EQ(result.json["tokens"], 11 * windows);
    EXPECT_EQ(result.json["windows"], windows);
    EXPECT_EQ(result.json["protocol"], "gptq-12");
    EXPECT_EQ(result.json["tokens_dropped"], seen.size() % 12);
    EXPECT_EQ(result.json["data"], labels.at(name));
    EXPECT_EQ(result.json["ci95"].size(), 2u);
    EXPECT_GE(result.json["seconds"], 0);
  }
}

TEST_F(EveryTask, IsRefusedWithThePlaceWhereItsTextIsMissing) {
  for (const auto& [name, task] : entries())
    EXPECT_EQ(files::testing_files::code_of([&, &entry = task] {
                check_data(entry, {.data_dir = "/nowhere", .hub_cache = "", .parquet = {}},
                           folder.env());
              }),
              Code::missing)
        << name;
}

Divergence one(LogitSource& a, LogitSource& b, std::span<const int32_t> ids,
               const Protocol& protocol, const Context& context) {
  LogitSource* candidates[] = {&b};
  return divergence(a, candidates, ids, protocol, context)[0];
}

TEST_F(Eval, DivergenceOfASourceFromItselfIsZero) {
  ToySource a(50, 0, 16), b(50, 0, 5);
  const Divergence d = one(a, b, ids, gptq_windows(333, 32), context);
  EXPECT_NEAR(d.kl_mean, 0, 1e-12);
  EXPECT_EQ(d.top1_agreement, 1);
  EXPECT_DOUBLE_EQ(d.perplexity, d.reference_perplexity);
}

TEST_F(Eval, DivergenceEqualsTheDirectSum) {
  ToySource a(50, 0, 16), b(50, 0.5, 16);
  const Divergence d = one(a, b, ids, gptq_windows(333, 32, 4), context);
  double kl = 0;
  int64_t same = 0, n = 0;
  double common = 0;
  const auto five = [](const std::vector<double>& p) {
    std::vector<size_t> order(p.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::partial_sort(order.begin(), order.begin() + 5, order.end(),
                      [&](size_t x, size_t y) { return p[x] > p[y]; });
    return std::set<size_t>(order.begin(), order.begin() + 5);
  };
  for (int64_t w = 0; w < 4; ++w) {
    const auto window = std::span<const int32_t>(ids).subspan(static_cast<size_t>(w * 32), 32);
    std::vector<std::vector<double>> p, q;
    a.each_row(window, 0, [&](int64_t, std::span<const float> row) { p.push_back(softmax(row)); });
    b.each_row(window, 0, [&](int64_t, std::span<const float> row) { q.push_back(softmax(row)); });
    for (size_t t = 0; t + 1 < p.size(); ++t, ++n) {
      for (size_t v = 0; v < 50; ++v) kl += p[t][v] * std::log(p[t][v] / q[t][v]);
      same += std::max_element(p[t].begin(), p[t].end()) - p[t].begin() ==
              std::max_element(q[t].begin(), q[t].end()) - q[t].begin();
      for (const size_t v : five(p[t])) common += five(q[t]).contains(v) ? 0.2 : 0;
    }
  }
  EXPECT_NEAR(d.top5_agreement, common / static_cast<double>(n), 1e-12);
  EXPECT_NEAR(d.kl_mean, kl / static_cast<double>(n), 1e-6);
  EXPECT_DOUBLE_EQ(d.top1_agreement, static_cast<double>(same) / static_cast<double>(n));
  EXPECT_LT(d.kl_ci95[0], d.kl_mean);
  EXPECT_GT(d.kl_ci95[1], d.kl_mean);
  EXPECT_GE(d.kl_p99, d.kl_p90);
}

// What is asked of a source at once: the buffers that hold it do not grow with the windows, and with
// the vocabulary only up to 16 MB, or one row of it.
TEST_F(Eval, RowBuffersGrowNeitherWithTheWindowsNorWithTheVocabulary) {
  struct Asked : ToySource {
    using ToySource::ToySource;
    int64_t next(std::span<float> rows) override {
      most = std::max(most, rows.size_bytes());
      return ToySource::next(rows);
    }
    size_t most = 0;
  };
  const auto most = [&](int64_t vocabulary, int64_t window) {
    Asked a(vocabulary, 0, 64), b(vocabulary, 1, 3);
    const Protocol protocol = gptq_windows(333, window, 1);
    one(a, b, ids, protocol, context);
    EXPECT_LE(b.most, a.most);
    return a.most;
  };
  EXPECT_EQ(most(256, 4), 64 * 256 * sizeof(float));
  EXPECT_EQ(most(256, 300), most(256, 4));
  EXPECT_EQ(most(256 << 10, 2), size_t{16} << 20);
  EXPECT_EQ(most(256 << 10, 4), size_t{16} << 20);
  for (const int64_t vocabulary : {256, 49152, 256 << 10, 1 << 22})
    EXPECT_LE(rows_per_chunk(vocabulary) * vocabulary, 1 << 22) << vocabulary;
  EXPECT_EQ(rows_per_chunk((1 << 22) + 1), 1);
}

// From rows that agree to eight digits to rows that have nothing in common, of lengths around the
// block: the direct sums in f64.
TEST(Rows, DistancesEqualTheDirectSumsAtEverySize) {
  for (const size_t n : {3u, 127u, 128u, 1000u})
    for (const double noise : {1e-4, 1e-2, 0.3, 3.0, 40.0}) {
      const CounterRng rng(5, static_cast<uint32_t>(n));
      std::vector<float> a(n), b(n);
      for (size_t i = 0; i < n; ++i) {
        a[i] = static_cast<float>(2 * rng.normal(i));
        b[i] = static_cast<float>(static_cast<double>(a[i]) + 3 + noise * rng.normal(n + i));
      }
      const RowDistance got = distance(a, log_sum_exp(a), b, log_sum_exp(b));
      const RowDistance back = distance(b, log_sum_exp(b), a, log_sum_exp(a));
      const auto p = softmax(a), q = softmax(b);
      double kl = 0, js = 0;
      for (size_t i = 0; i < n; ++i) {
        const double m = (p[i] + q[i]) / 2;
        if (p[i] > 0) kl += p[i] * std::log(p[i] / q[i]), js += p[i] / 2 * std::log(p[i] / m);
        if (q[i] > 0) js += q[i] / 2 * std::log(q[i] / m);
      }
      // Exponentials in f32: their rounding is in both log sums, so in KL, and at second order in JS.
      EXPECT_NEAR(got.kl, kl, 1e-6 * kl + 2e-7) << n << " " << noise;
      EXPECT_NEAR(got.js, js, 1e-5 * js + 1e-13) << n << " " << noise;
      EXPECT_NEAR(back.js, got.js, 1e-5 * js) << n << " " << noise;
      EXPECT_EQ(distance(a, log_sum_exp(a), a, log_sum_exp(a)).js, 0);
      EXPECT_LE(got.js, std::log(2.0) * (1 + 1e-6));
    }
}

TEST(Rows, TopFiveEqualsASortWithTheFirstOnesOnTies) {
  for (const size_t n : {1u, 4u, 5u, 128u, 129u, 1500u}) {
    std::vector<float> row(n);
    const CounterRng rng(6, static_cast<uint32_t>(n));
    for (size_t i = 0; i < n; ++i) row[i] = static_cast<float>(rng.u32(i) % 9);  // many ties
    std::vector<int32_t> order(n);
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t x, int32_t y) {
      return row[static_cast<size_t>(x)] > row[static_cast<size_t>(y)];
    });
    order.resize(std::min<size_t>(5, n));
    const TopFive top = top_five(row);
    EXPECT_EQ(std::vector<int32_t>(top.ids.begin(), top.ids.begin() + top.count), order) << n;
    EXPECT_EQ(overlap(top, top), 1);
  }
}

TEST(LogHistogram, PercentilesAreThoseOfTheValues) {
  const CounterRng rng(4);
  LogHistogram first, whole;
  std::vector<float> values;
  for (uint64_t i = 0; i < 20000; ++i) {
    values.push_back(static_cast<float>(std::exp(2 * rng.normal(i) - 4)));
    (i < 7000 ? first : whole).add(static_cast<double>(values.back()));
  }
  whole.add(LogHistogram::from(parse_json(first.json().dump(), "test")));
  EXPECT_EQ(whole.count(), 20000);
  for (const double p : {0.0, 0.1, 0.5, 0.9, 0.99, 0.9999}) {
    const double exact = percentile(values, p);
    EXPECT_NEAR(whole.percentile(p), exact, 0.008 * exact) << p;
  }
  EXPECT_NEAR(whole.percentile(0.5), percentile(values, 0.5), 1e-3 * percentile(values, 0.5));
  EXPECT_EQ(whole.percentile(1), percentile(values, 1));
  LogHistogram same;
  for (int i = 0; i < 3; ++i) same.add(0);
  EXPECT_EQ(same.percentile(0.5), 0);
}

// The delta method: the deviation of log ratios of windows / sqrt(n), times the ratio.
TEST_F(Eval, TheErrorOfThePerplexityRatioIsThatOfPairedWindows) {
  ToySource a(50, 0, 16), b(50, 0.5, 16);
  const Protocol protocol = gptq_windows(333, 16);
  const Divergence d = one(a, b, ids, protocol, context);
  std::vector<double> logs;
  for (const Window& w : protocol.windows) {
    const Divergence alone = one(a, b, ids, {"", {w}}, context);
    EXPECT_FALSE(alone.perplexity_ratio_se);
    logs.push_back(std::log(alone.perplexity_ratio));
  }
  const auto n = static_cast<double>(logs.size());
  const double mean = std::accumulate(logs.begin(), logs.end(), 0.0) / n;
  double squares = 0;
  for (const double x : logs) squares += (x - mean) * (x - mean);
  EXPECT_NEAR(d.perplexity_ratio, std::exp(mean), 1e-12);
  EXPECT_NEAR(d.perplexity_ratio, d.perplexity / d.reference_perplexity, 1e-12);
  // 2,000 draws: 1.6 % of a deviation; the bootstrap divides by n where the sample has n - 1.
  EXPECT_NEAR(*d.perplexity_ratio_se / (std::exp(mean) * std::sqrt(squares) / n), 1, 0.08);
}

TEST_F(Eval, ADivergenceThatGoesOnEndsTheSame) {
  const Protocol protocol = gptq_windows(333, 32);
  std::map<uint64_t, Json> kept;
  size_t allowed = 3;
  const RunMemory memory = {.find = [&](uint64_t key) -> std::optional<Json> {
                              const auto found = kept.find(key);
                              return found == kept.end()
                                         ? std::nullopt
                                         : std::optional(parse_json(found->second.dump(), ""));
                            },
                            .keep =
                                [&](uint64_t key, const Json& value) {
                                  if (kept.size() == allowed)
                                    throw Error(Code::interrupted, "test", "stopped");
                                  kept[key] = value;
                                }};
  ToySource a(50, 0, 16), b(50, 0.5, 16), c(50, 1, 16);
  LogitSource* both[] = {&b, &c};
  const auto run = [&] {
    return divergence(a, both, ids, protocol, context,
                      {.last_windows = 2, .memory = {memory, RunMemory{}}});
  };
  EXPECT_THROW(run(), Error);
  allowed = 100;
  const auto resumed = run();
  EXPECT_EQ(kept.size(), protocol.windows.size());
  const Divergence whole = one(a, b, ids, protocol, context);
  EXPECT_EQ(resumed[0].kl_mean, whole.kl_mean);
  EXPECT_EQ(resumed[0].js_ci95, whole.js_ci95);
  EXPECT_EQ(resumed[0].kl_p99, whole.kl_p99);
  EXPECT_EQ(resumed[0].perplexity_ratio_se, whole.perplexity_ratio_se);
  EXPECT_EQ(resumed[1].windows, 2);
  EXPECT_EQ(resumed[1].kl_mean, one(a, c, ids, gptq_windows(333, 32, 2), context).kl_mean);
}

TEST(Bootstrap, CoversTheMeanOfASkewedSampleAboutNinetyFivePercentOfTheTime) {
  int covered = 0;
  for (uint64_t trial = 0; trial < 200; ++trial) {
    const CounterRng rng(trial, 99);
    std::vector<double> x;
    for (uint64_t i = 0; i < 40; ++i) x.push_back(rng.normal(i));
    const Interval ci = bootstrap(
        40,
        [&](std::span<const double> m) {
          double sum = 0, n = 0;
          for (size_t i = 0; i < x.size(); ++i) sum += m[i] * x[i], n += m[i];
          return sum / n;
        },
        trial, 400);
    covered += ci[0] <= 0 && 0 <= ci[1];
  }
  // Binomial(200, 0.93) stays within 172..199 with probability above 0.999.
  EXPECT_GE(covered, 172);
  EXPECT_LE(covered, 199);
}

TEST_F(Eval, SourcesOfDifferentVocabulariesAreRefused) {
  ToySource a(50, 0, 16), b(51, 0, 16);
  EXPECT_EQ(
      files::testing_files::line_of([&] { one(a, b, ids, gptq_windows(333, 32, 1), context); }),
      "error[E_USAGE] toy: has a vocabulary of 51, the reference 50; compare models of one family");
}

}  // namespace
}  // namespace halftone::eval
