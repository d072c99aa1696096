// Scores of texts and labels against what sacrebleu, rouge-score, scikit-learn and statsmodels say
// (tests/fixtures/scores, made by tests/tools/compare_scores.py), and against exact properties.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/json.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"
#include "halftone/eval/bleu.h"
#include "halftone/eval/bleu_words.h"
#include "halftone/eval/classification.h"
#include "halftone/eval/fidelity.h"
#include "halftone/eval/paired.h"
#include "halftone/eval/python_text.h"
#include "halftone/eval/text_scores.h"
#include "halftone/files/documents.h"
#include "tests/support/data.h"

namespace halftone::eval {
namespace {

using Texts = std::vector<std::string>;

// Sums of logarithms and means may be taken in another order: two units of the 16th digit.
void expect_equal(double ours, const Json& theirs, const std::string& what) {
  const auto want = theirs.get<double>();
  EXPECT_NEAR(ours, want, 4e-15 * std::abs(want)) << what;
}

class Scores : public testing::Test {
 protected:
  Scores() {
    context.pool = &pool;
    context.env = env.get();
  }
  double corpus(const std::string& name, std::span<const TextItem> items,
                Words words = Words::v13a) const {
    const TextMetric metric = text_metric(name, words);
    std::vector<double> sums(static_cast<size_t>(metric.sums));
    const auto rows = count_items(metric, items, context);
    for (size_t i = 0; i < rows.size(); ++i) sums[i % sums.size()] += rows[i];
    return metric.score(sums);
  }
  void expect_corpus(const Json& expected, std::span<const TextItem> items,
                     const std::string& what) const {
    for (const auto& [words, bleu] : expected["bleu"].items())
      expect_equal(corpus("bleu", items, words_from(words)), bleu["score"], what + " " + words);
    for (const char* name : {"chrf", "chrf++", "rougeL"})
      expect_equal(corpus(name, items), expected[name], what + " " + name);
  }
  Texts lines(const std::string& name) const {
    const std::string text = files::read_text_of(*env, tests::data_path("wmt/" + name));
    const auto views = files::split_lines(text);
    return {views.begin(), views.end()};
  }
  const std::unique_ptr<Env> env = posix_env();
  ThreadPool pool{2};
  Context context;
  const Json recorded = parse_json(
      env->read_text(std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/scores/expected.json",
                     1 << 24),
      "expected.json");
};

TEST_F(Scores, OfSingleTextsEqualSacrebleuAndRouge) {
  for (const Json& item : recorded["items"]) {
    const TextItem text{item["text"].get<std::string>(), item["references"].get<Texts>()};
    for (const auto& [name, words] : item["words"].items())
      EXPECT_EQ(split_words(text.text, words_from(name)), words.get<Texts>()) << name;
    const auto row = [&](const char* name) {
      return count_items(text_metric(name), {&text, 1}, context);
    };
    const Bleu one = bleu(row("bleu"), true);
    expect_equal(one.score, item["bleu"]["score"], text.text);
    expect_equal(one.brevity_penalty, item["bleu"]["bp"], text.text);
    EXPECT_EQ(one.length, item["bleu"]["length"]);
    EXPECT_EQ(one.reference_length, item["bleu"]["reference_length"]);
    for (size_t n = 0; n < 4; ++n)
      expect_equal(one.precisions[n], item["bleu"]["precisions"][n], text.text);
    for (const char* name : {"chrf", "chrf++", "rougeL"})
      expect_equal(text_metric(name).of_item(row(name)), item[name], text.text + " " + name);
  }
}

TEST_F(Scores, OfACorpusEqualSacrebleuWithOneReferenceAndWithThree) {
  const Json& sets = recorded["corpus"]["references"];
  std::vector<TextItem> one, three;
  for (size_t i = 0; i < recorded["items"].size(); ++i) {
    const auto text = recorded["items"][i]["text"].get<std::string>();
    one.push_back({text, {sets[0][i].get<std::string>()}});
    three.push_back({text, {}});
    for (const Json& set : sets) three.back().references.push_back(set[i].get<std::string>());
  }
  expect_corpus(recorded["corpus"]["one"], one, "one");
  expect_corpus(recorded["corpus"]["three"], three, "three");
  for (const char* name : {"bleu", "chrf", "chrf++"})
    EXPECT_EQ("nrefs:3|" + text_metric(name).signature,
              recorded["corpus"]["three"][std::string(name) + "_signature"]);
}

// The same losses as in the script that recorded: words lost and swapped, lines in another language.
TEST_F(Scores, OfNoisyTranslationsEqualSacrebleu) {
  if (const auto why = tests::without_data("wmt"); !why.empty()) GTEST_SKIP() << why;
  for (const Json& run : recorded["wmt"]) {
    const Texts references = lines(run["references"].get<std::string>()),
                others = lines(run["other"].get<std::string>());
    PythonRandom random(run["seed"].get<uint64_t>());
    std::vector<TextItem> items;
    for (size_t i = 0; i < references.size(); ++i) {
      std::vector<std::string_view> words;
      for (const std::string_view word : split(references[i]))
        if (random.random() >= 0.12) words.push_back(word);
      if (random.random() < 0.3 && words.size() > 1) {
        const auto at =
            static_cast<size_t>(random.random() * static_cast<double>(words.size() - 1));
        std::swap(words[at], words[at + 1]);
      }
      std::string text;
      for (const std::string_view word : words) text.append(text.empty() ? "" : " ").append(word);
      items.push_back({random.random() < 0.05 ? others[i] : text, {references[i]}});
    }
    expect_corpus(run["scores"], items, run["references"].get<std::string>());
  }
}

TEST_F(Scores, IntervalsHoldTheScoreAndAPairOfTheSameSystemsDiffersByNothing) {
  std::vector<TextItem> good, bad;
  const CounterRng rng(5);
  for (uint64_t i = 0; i < 60; ++i) {
    std::string reference, text, other;
    for (uint64_t w = 0; w < 12; ++w) {
      const std::string word = "w" + std::to_string(rng.u32(100 * i + w) % 50) + " ";
      reference += word;
      text += rng.uniform(7000 + 100 * i + w) < 0.1 ? "x " : word;
      other += rng.uniform(70000 + 100 * i + w) < 0.4 ? "x " : word;
    }
    good.push_back({text, {reference}});
    bad.push_back({other, {reference}});
  }
  for (const std::string& name : text_metric_names()) {
    const TextMetric metric = text_metric(name);
    const auto a = count_items(metric, good, context), b = count_items(metric, bad, context);
    const TextScore score = text_score(metric, a);
    EXPECT_LT((*score.ci95)[0], score.value);
    EXPECT_GT((*score.ci95)[1], score.value);
    const PairedDifference same = paired_difference(metric, a, a),
                           far = paired_difference(metric, a, b);
    EXPECT_EQ(same.value, 0);
    EXPECT_EQ(same.p, 1);
    EXPECT_EQ(far.value, text_score(metric, a).value - text_score(metric, b).value);
    EXPECT_GT(far.ci95[0], 0);
    EXPECT_DOUBLE_EQ(far.p, 1.0 / 2001);
    EXPECT_FALSE(text_score(metric, std::span(a).first(static_cast<size_t>(metric.sums))).ci95);
  }
}

TEST(TextMetrics, ANameThatIsNoneIsRefusedWithTheNearest) {
  try {
    text_metric("rouge");
    FAIL();
  } catch (const InputError& e) {
    EXPECT_EQ(e.line(),
              "error[E_USAGE] --metrics: there is no score \"rouge\"; did you mean rougeL?");
  }
}

TEST_F(Scores, OfLabelsEqualScikitLearnAndStatsmodels) {
  for (const Json& run : recorded["classification"]) {
    const auto gold = run["gold"].get<Texts>(), first = run["first"].get<Texts>();
    const Classification c = classify(gold, first);
    EXPECT_EQ(c.labels, run["labels"].get<Texts>());
    const size_t n = c.labels.size();
    expect_equal(c.accuracy.value, run["accuracy"], "accuracy");
    const auto three = [&](const LabelScores& s, const auto& theirs, const std::string& what) {
      expect_equal(s.precision.value, theirs(0), what);
      expect_equal(s.recall.value, theirs(1), what);
      expect_equal(s.f1.value, theirs(2), what);
    };
    for (size_t k = 0; k < n; ++k) {
      for (size_t p = 0; p < n; ++p) EXPECT_EQ(c.confusion[k * n + p], run["confusion"][k][p]);
      three(
          c.by_label[k], [&](size_t i) { return run["by_label"][i][k]; }, c.labels[k]);
    }
    for (const auto& [name, scores] : {std::pair{"macro", &c.macro}, {"weighted", &c.weighted}})
      three(
          *scores, [&, &key = name](size_t i) { return run[key][i]; }, name);
    EXPECT_LE((*c.macro.f1.ci95)[0], (*c.macro.f1.ci95)[1]);

    const McNemar m = mcnemar(gold, first, run["second"].get<Texts>());
    EXPECT_EQ(Json({m.both, m.only_first, m.only_second, m.neither}), run["table"]);
    // Logarithms of factorials lose digits: 1e-12 of thousands of items.
    EXPECT_NEAR(m.exact_p, run["exact_p"].get<double>(), 1e-11 * run["exact_p"].get<double>());
    if (run["p"].is_null()) continue;
    expect_equal(m.statistic, run["statistic"], "statistic");
    EXPECT_NEAR(m.p, run["p"].get<double>(), 1e-12 * run["p"].get<double>());
  }
}

TEST(Classes, TextsTakenForLabelsAreRefused) {
  Texts right, given;
  for (int i = 0; i < 1001; ++i) right.push_back("t" + std::to_string(i)), given.push_back("t0");
  EXPECT_THROW(classify(right, given), InputError);
}

TEST_F(Scores, FidelitySaysWhereAnswersPart) {
  const std::vector<Answer> reference = {
      {{1, 2, 3}, "a b c"}, {{4, 5, 6}, "d e f"}, {{7, 8}, "g h"}};
  const std::vector<Answer> model = {
      {{1, 2, 3}, "a b c"}, {{4, 9, 6}, "d x f"}, {{7, 8, 1}, "g h a"}};
  const Fidelity f = fidelity(reference, model, context);
  EXPECT_DOUBLE_EQ(f.exact.value, 1.0 / 3);
  EXPECT_DOUBLE_EQ(f.common_prefix.value, (3 + 1 + 2) / 3.0);
  EXPECT_DOUBLE_EQ(f.tokens.value, 3);
  EXPECT_EQ(f.earliest(), 1);
  EXPECT_DOUBLE_EQ(*f.median_parting, 1.5);
  EXPECT_EQ(f.partings[1].reference, 5);
  EXPECT_EQ(f.partings[1].model, 9);
  EXPECT_EQ(f.partings[2].reference, std::nullopt);  // it had ended
  EXPECT_EQ(f.partings[2].model, 1);
  const Fidelity same = fidelity(reference, reference, context);
  EXPECT_EQ(same.exact.value, 1);
  EXPECT_FALSE(same.median_parting || same.earliest());
  for (const auto& [metric, score] : same.scores) {
    if (metric.name == "bleu") continue;  // there are no four words in a row
    EXPECT_EQ(score.value, metric.scale) << metric.name;
  }
}

// statsmodels: multipletests(p, method="holm"), mcnemar(exact=True).
TEST(Paired, HolmEqualsStatsmodels) {
  EXPECT_THAT(holm(std::vector<double>{0.01, 0.04, 0.03, 0.005, 0.6}),
              testing::Pointwise(testing::DoubleNear(1e-15),
                                 std::vector<double>{0.04, 0.09, 0.09, 0.025, 0.6}));
  EXPECT_EQ(holm(std::vector<double>{0.7, 0.9}), (std::vector<double>{1, 1}));
  EXPECT_TRUE(holm({}).empty());
}

TEST(Paired, AChangeCountsWhatWasLostAndWon) {
  // 100 items: 10 lost, 2 won, 50 right in both.
  std::vector<uint8_t> before, after;
  const auto add = [&](int n, uint8_t a, uint8_t b) {
    before.insert(before.end(), static_cast<size_t>(n), a);
    after.insert(after.end(), static_cast<size_t>(n), b);
  };
  add(50, 1, 1), add(10, 1, 0), add(2, 0, 1), add(38, 0, 0);
  const PairedChange c = paired_change(before, after);
  EXPECT_EQ(c.lost, 10);
  EXPECT_EQ(c.won, 2);
  EXPECT_DOUBLE_EQ(c.reference, 0.6);
  EXPECT_DOUBLE_EQ(c.value, 0.52);
  EXPECT_DOUBLE_EQ(c.change, -0.08);
  EXPECT_NEAR(c.p, 0.03857421875, 1e-15);  // 2 * (1 + 12 + 66) / 4096
  // Standard error of the mean of the paired differences: sqrt((0.12 - 0.0064) / 100) = 0.0337.
  EXPECT_NEAR((*c.ci95)[0], -0.08 - 1.96 * 0.0337, 0.01);
  EXPECT_NEAR((*c.ci95)[1], -0.08 + 1.96 * 0.0337, 0.01);
  EXPECT_EQ(verdict(c.change, c.p), "worse");
  EXPECT_EQ(verdict(-c.change, c.p), "better");
  EXPECT_EQ(verdict(c.change, 0.05), "no difference shown");
  EXPECT_EQ(paired_change(before, before).p, 1);
}

}  // namespace
}  // namespace halftone::eval
