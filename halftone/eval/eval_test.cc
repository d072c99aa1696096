#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "halftone/base/error.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"
#include "halftone/eval/divergence.h"
#include "halftone/eval/perplexity.h"
#include "halftone/eval/task.h"
#include "halftone/eval/test_source.h"
#include "halftone/files/test_files.h"

namespace halftone::eval {
namespace {

using testing_eval::ToySource;

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
  for (int64_t w = 0; w < 4; ++w) {
    const auto window = std::span<const int32_t>(ids).subspan(static_cast<size_t>(w * 32), 32);
    std::vector<std::vector<double>> p, q;
    const auto soft = [](std::span<const float> row) {
      std::vector<double> out;
      double sum = 0;
      for (float v : row) out.push_back(std::exp(static_cast<double>(v))), sum += out.back();
      for (double& v : out) v /= sum;
      return out;
    };
    a.each_row(window, 0, [&](int64_t, std::span<const float> row) { p.push_back(soft(row)); });
    b.each_row(window, 0, [&](int64_t, std::span<const float> row) { q.push_back(soft(row)); });
    for (size_t t = 0; t + 1 < p.size(); ++t, ++n) {
      for (size_t v = 0; v < 50; ++v) kl += p[t][v] * std::log(p[t][v] / q[t][v]);
      same += std::max_element(p[t].begin(), p[t].end()) - p[t].begin() ==
              std::max_element(q[t].begin(), q[t].end()) - q[t].begin();
    }
  }
  EXPECT_NEAR(d.kl_mean, kl / static_cast<double>(n), 1e-6);
  EXPECT_DOUBLE_EQ(d.top1_agreement, static_cast<double>(same) / static_cast<double>(n));
  EXPECT_LT(d.kl_ci95[0], d.kl_mean);
  EXPECT_GT(d.kl_ci95[1], d.kl_mean);
  EXPECT_GE(d.kl_p99, d.kl_p90);
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
  EXPECT_THROW(one(a, b, ids, gptq_windows(333, 32, 1), context), InputError);
}

}  // namespace
}  // namespace halftone::eval
