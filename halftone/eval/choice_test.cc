// Scores of continuations and multiple choice, against sums and texts written out by hand.
// tests/parity/lm_eval_test.cc holds them against lm-eval itself.
#include "halftone/eval/choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/eval/accuracy.h"
#include "halftone/eval/python_text.h"
#include "halftone/eval/sample_log.h"
#include "halftone/eval/test_source.h"
#include "halftone/eval/wikitext_pages.h"
#include "halftone/files/test_files.h"

namespace halftone::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing_eval::ToySource;

constexpr int32_t kBos = 1;

// A byte is a token; BOS before every text, written "<s>" in a text.
TextCodec byte_codec() {
  return {.encode =
              [](std::string_view text, bool add_special) {
                std::vector<int32_t> ids;
                if (add_special) ids.push_back(kBos);
                if (text.starts_with("<s>")) {
                  ids.push_back(kBos);
                  text.remove_prefix(3);
                }
                for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
                return ids;
              },
          .prefix = kBos,
          .prefix_text = "<s>"};
}

std::vector<int32_t> bytes(std::string_view text, bool bos = false) {
  std::vector<int32_t> ids;
  if (bos) ids.push_back(kBos);
  for (const char c : text) ids.push_back(static_cast<uint8_t>(c));
  return ids;
}

TEST(EncodeRequest, TakesTheContinuationOutOfTheWholeText) {
  const EncodedRequest r = encode_request(byte_codec(), {"Q:", " ab"}, 100);
  EXPECT_EQ(r.fed, bytes("Q: a", true));
  EXPECT_EQ(r.targets, bytes(" ab"));
  EXPECT_FALSE(r.truncated);
  // A tokenizer that joins over the border: the continuation is what the whole has more.
  TextCodec joining = byte_codec();
  joining.encode = [](std::string_view text, bool) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < text.size(); i += 2) ids.push_back(static_cast<uint8_t>(text[i]));
    return ids;
  };
  EXPECT_EQ(encode_request(joining, {"abc", "de"}, 100).targets, bytes("e"));
}

TEST(EncodeRequest, MovesTrailingSpacesToTheContinuation) {
  const EncodedRequest r = encode_request(byte_codec(), {"Q: \n\u00a0", "a"}, 100);
  EXPECT_EQ(r.targets, bytes(" \n\u00a0a"));
  EXPECT_EQ(r.fed, bytes("Q: \n\u00a0", true));
}

TEST(EncodeRequest, BeginsAnEmptyContextWithThePrefix) {
  const TextCodec codec = byte_codec();
  EXPECT_EQ(encode_request(codec, {"", "ab"}, 100).fed, (std::vector<int32_t>{kBos, 'a'}));
  EXPECT_EQ(encode_request(codec, {"", "ab"}, 100).targets, bytes("ab"));
  // A continuation that begins with it gives it away.
  EXPECT_EQ(encode_request(codec, {"", "<s>ab"}, 100).targets, bytes("ab"));
  TextCodec bare = codec;
  bare.prefix.reset();
  try {
    encode_request(bare, {"", "ab"}, 100);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.line(),
              "error[E_MISSING] tokenizer: there is neither a BOS nor an EOS token for an empty "
              "context to begin with; name bos_token or eos_token in tokenizer_config.json");
  }
}

TEST(EncodeRequest, AddsNoSecondBosToATextThatBeginsWithIt) {
  EXPECT_EQ(encode_request(byte_codec(), {"<s>Q", "a"}, 100).fed, bytes("Q", true));
}

TEST(EncodeRequest, CutsTheBeginningOfTooLongATextAndSaysSo) {
  const EncodedRequest r = encode_request(byte_codec(), {"0123456789", "ab"}, 5);
  EXPECT_TRUE(r.truncated);
  EXPECT_EQ(r.fed, bytes("6789a"));
  EXPECT_EQ(r.targets, bytes("ab"));
  EXPECT_FALSE(encode_request(byte_codec(), {"012", "ab"}, 5).truncated);  // BOS 0 1 2 a
}

TEST(EncodeRequest, GivesTheReasonWhereThereIsNoScore) {
  EXPECT_EQ(encode_request(byte_codec(), {"Q", ""}, 5).skipped,
            "the continuation has no tokens of its own");
  EXPECT_EQ(encode_request(byte_codec(), {"Q", "abcdef"}, 5).skipped,
            "the continuation has 6 tokens, the model's context 5");
}

class Choice : public ::testing::Test {
 protected:
  Choice() {
    context.env = &folder.env();
    context.pool = &pool;
    context.log = [this](Level, std::string_view text) { log.emplace_back(text); };
  }
  TaskInput input() {
    return {.source = source,
            .encode = {},
            .places = {.data_dir = folder.path(), .hub_cache = "", .parquet = {}},
            .log_sample = [this](const Json& sample) { samples.push_back(sample); },
            .context = context,
            .codec = byte_codec()};
  }
  double brute(const EncodedRequest& r, bool* greedy = nullptr) {
    double sum = 0;
    if (greedy) *greedy = true;
    const int64_t first = std::ssize(r.fed) - std::ssize(r.targets);
    source.each_row(r.fed, first, [&](int64_t position, std::span<const float> row) {
      double total = 0;
      for (const float v : row) total += std::exp(static_cast<double>(v));
      const int32_t target = r.targets[static_cast<size_t>(position - first)];
      sum += static_cast<double>(row[static_cast<size_t>(target)]) - std::log(total);
      if (greedy)
        *greedy &= *std::max_element(row.begin(), row.end()) == row[static_cast<size_t>(target)];
    });
    return sum;
  }
  Item item(std::string question, std::vector<std::string> choices, int64_t gold) {
    return {.doc = {{"q", question}},
            .where = "x.jsonl:1",
            .question = question,
            .choices = std::move(choices),
            .gold = gold};
  }
  std::string error_of(const std::function<void()>& call) {
    try {
      call();
    } catch (const Error& e) {
      return replace_all(e.line(), folder.path() + "/", "");
    }
    return "nothing was refused";
  }

  files::testing_files::TempFolder folder;
  ThreadPool pool{2};
  Context context;
  ToySource source{256, 0.5, 7};
  std::vector<Json> samples;
  std::vector<std::string> log;
};

TEST_F(Choice, ScoresAreTheSumsWrittenOut) {
  std::vector<Request> requests = {{"Question: a\nAnswer:", " yes"},
                                   {"Question: a\nAnswer:", " no"},
                                   {"", "x"},
                                   {"Q", ""},
                                   {"Q", " longer than the others"}};
  const auto got = score(source, byte_codec(), requests, context, {.stage = "t"});
  ASSERT_EQ(got.size(), requests.size());
  for (size_t i = 0; i < requests.size(); ++i) {
    const EncodedRequest r = encode_request(byte_codec(), requests[i], source.context());
    EXPECT_EQ(got[i].skipped.empty(), i != 3);
    if (i == 3) continue;
    bool greedy = false;
    EXPECT_NEAR(got[i].log_likelihood, brute(r, &greedy), 1e-5);  // f32 exp: 1e-7 a term
    EXPECT_EQ(got[i].greedy, greedy);
  }
  // In another order, one at a time: the same bits.
  for (size_t i = requests.size(); i-- > 0;) {
    const auto one = score(source, byte_codec(), {&requests[i], 1}, context, {.stage = "t"});
    EXPECT_EQ(one[0].log_likelihood, got[i].log_likelihood);
    EXPECT_EQ(one[0].greedy, got[i].greedy);
  }
}

TEST_F(Choice, WhatTheMemoryHoldsIsNotComputedAgain) {
  std::map<uint64_t, Json> kept;
  int64_t asked = 0;
  const RunMemory memory = {.find = [&](uint64_t key) -> std::optional<Json> {
                              ++asked;
                              const auto found = kept.find(key);
                              if (found == kept.end()) return std::nullopt;
                              return found->second;
                            },
                            .keep = [&](uint64_t key, const Json& value) { kept[key] = value; }};
  const std::vector<Request> requests = {{"a", " b"}, {"a", " c"}, {"ab", " c"}};
  const auto first =
      score(source, byte_codec(), requests, context, {.stage = "t", .memory = memory});
  EXPECT_EQ(kept.size(), 3u);
  // The source would fail: it is not asked.
  class Broken : public ToySource {
   public:
    using ToySource::ToySource;
    void begin(std::span<const int32_t>, int64_t) override { FAIL() << "computed again"; }
  } broken(256, 0, 7);
  const auto again =
      score(broken, byte_codec(), requests, context, {.stage = "t", .memory = memory});
  EXPECT_EQ(asked, 6);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(again[i].log_likelihood, first[i].log_likelihood);
    EXPECT_EQ(again[i].greedy, first[i].greedy);
  }
  // As JSON text, as a journal keeps them, values are the same to the bit.
  for (auto& [key, value] : kept) EXPECT_EQ(parse_json(value.dump(), "journal"), value);
}

TEST_F(Choice, ALogitThatIsNotFiniteIsAnErrorThatNamesTheTask) {
  class NotFinite : public ToySource {
   public:
    using ToySource::ToySource;
    int64_t next(std::span<float> rows) override {
      const int64_t n = ToySource::next(rows);
      if (n > 0) rows[3] = std::numeric_limits<float>::quiet_NaN();
      return n;
    }
  } bad(256, 0, 7);
  const Request request{"a", " b"};
  EXPECT_EQ(error_of([&] {
              score(bad, byte_codec(), {&request, 1}, context, {.stage = "piqa"});
            }),
            "error[E_NONFINITE] toy: piqa: position 1 has a logit that is not finite");
}

TEST_F(Choice, PromptsAreDescriptionExamplesAndQuestion) {
  ChoiceRun run{.name = "t", .description = "Answer.\n\n", .items = {item("Q1", {"x", "y"}, 1)}};
  run.shots = {
      .count = 2, .pool = {item("A", {"a", "b"}, 0), item("B", {"c", "d"}, 1)}, .first = true};
  const auto plain = choice_requests(input(), run);
  ASSERT_EQ(plain.size(), 1u);
  EXPECT_THAT(plain[0], ElementsAre(Request{"Answer.\n\nA a\n\nB d\n\nQ1", " x"},
                                    Request{"Answer.\n\nA a\n\nB d\n\nQ1", " y"}));
  TaskInput chat = input();
  chat.chat = [](const Json& messages) {
    std::string out;
    for (const Json& m : messages)
      out += "[" + m["role"].get<std::string>() + "]" + m["content"].get<std::string>();
    return out + "[assistant]";
  };
  EXPECT_THAT(
      choice_requests(chat, run)[0],
      ElementsAre(
          Request{"[system]Answer.\n\n[user]A[assistant]a[user]B[assistant]d[user]Q1[assistant]",
                  "x"},
          Request{"[system]Answer.\n\n[user]A[assistant]a[user]B[assistant]d[user]Q1[assistant]",
                  "y"}));
}

TEST_F(Choice, PartialEvaluationScoresOneEndingBehindEachContext) {
  ChoiceRun run{.name = "t", .items = {item("", {"The cat", "The dog"}, 0)}};
  run.items[0].ending = "ran.";
  run.shots = {.count = 1, .pool = run.items, .first = true};
  EXPECT_THAT(choice_requests(input(), run)[0],
              ElementsAre(Request{"The cat ran.\n\nThe cat", " ran."},
                          Request{"The cat ran.\n\nThe dog", " ran."}));
}

TEST_F(Choice, ExamplesAreDrawnAsLmEvalDrawsThem) {
  ChoiceRun run{.name = "t"};
  for (int i = 0; i < 10; ++i) run.items.push_back(item(std::to_string(i), {"x"}, 0));
  const auto drawn = [&](size_t i) {  // the questions before the last one
    std::string text = choice_requests(input(), run)[i][0].context;
    return replace_all(replace_all(text.substr(0, text.rfind('\n') + 1), " x\n\n", " "), "\n", "");
  };
  run.shots = {.count = 3, .pool = run.items};
  EXPECT_EQ(drawn(0), "7 1 0 ");  // random.Random(1234).sample(range(10), 3), twice
  EXPECT_EQ(drawn(1), "1 0 9 ");
  run.shots = {.count = 2, .pool = run.items, .drop_itself = true};
  EXPECT_EQ(drawn(0), "7 1 ");  // 7 1 0, without itself
  EXPECT_EQ(drawn(1), "0 9 ");  // 1 0 9, without itself
  run.shots = {.count = 10, .pool = run.items, .drop_itself = true};
  EXPECT_EQ(error_of([&] { choice_requests(input(), run); }),
            "error[E_USAGE] --num-fewshot 10: t has 10 examples to choose from; ask for fewer");
  // All the others are equal to the question: there is nothing to draw anew from.
  run.items = {item("same", {"x"}, 0), item("same", {"x"}, 0), item("same", {"x"}, 0)};
  run.shots = {.count = 1, .pool = run.items, .drop_itself = true};
  EXPECT_THAT(error_of([&] { choice_requests(input(), run); }),
              HasSubstr("x.jsonl:1: too few examples"));
}

TEST_F(Choice, TheMostLikelyChoiceIsTakenAndTheFirstOnTies) {
  ChoiceRun run{.name = "t"};
  run.items = {item("Q", {"same", "same", "same"}, 0), item("Q", {"same", "same"}, 1),
               item("Question", {"\u00e9\u00e9", "abcdef"}, 0)};
  const ChoiceScores scores = run_choices(input(), run);
  EXPECT_EQ(scores.acc[0], 1);
  EXPECT_EQ(scores.acc[1], 0);
  EXPECT_EQ(scores.requests, 7);
  ASSERT_EQ(samples.size(), 3u);
  // acc_norm divides by characters, not bytes.
  const auto likely = [&](size_t c) {
    return std::stod(samples[2]["filtered_resps"][c][0].get<std::string>());
  };
  EXPECT_EQ(scores.acc[2], likely(0) >= likely(1));
  EXPECT_EQ(scores.acc_norm[2], likely(0) / 2 >= likely(1) / 6);
}

TEST_F(Choice, ItemsWithoutAScoreAreCountedSaidAndLogged) {
  ChoiceRun run{.name = "t"};
  run.items = {item("Q", {std::string(80, 'x'), "a"}, 0), item("Q", {"a", "b"}, 0),
               item(std::string(80, 'q'), {"a", "b"}, 0)};
  const ChoiceScores scores = run_choices(input(), run);
  EXPECT_EQ(scores.skipped_items.size(), 1u);
  EXPECT_EQ(scores.truncated, 2);
  EXPECT_EQ(scores.acc.size(), 2u);
  EXPECT_THAT(log,
              ElementsAre("x.jsonl:1: not scored: choice 0: the continuation has 81 tokens, the "
                          "model's context 64",
                          "t: 2 of 6 texts are longer than the model's context of 64 tokens: "
                          "they lost their beginning, as in lm-eval"));
  EXPECT_THAT(samples[0]["skipped"], HasSubstr("81 tokens"));
  EXPECT_THAT(samples[0]["metrics"], IsEmpty());
  EXPECT_FALSE(samples[0].contains("acc"));
  EXPECT_EQ(counts_text(scores), ", 1 item skipped, 2 texts truncated");
  EXPECT_EQ(counts_text({}), "");
}

TEST_F(Choice, SampleLinesHaveTheKeysOfLmEval) {
  ChoiceRun run{.name = "piqa", .items = {item("Q", {"a", "b"}, 1)}};
  run_choices(input(), run);
  std::vector<std::string> keys;
  for (const auto& [key, value] : samples[0].items()) keys.push_back(key);
  EXPECT_THAT(keys, ElementsAre("task", "doc_id", "doc", "target", "arguments", "resps",
                                "filtered_resps", "filter", "metrics", "acc", "acc_norm"));
  EXPECT_EQ(samples[0]["target"], "1");
  EXPECT_EQ(samples[0]["arguments"]["gen_args_1"], Json({{"arg_0", "Q"}, {"arg_1", " b"}}));
  EXPECT_EQ(samples[0]["resps"][1][0], samples[0]["filtered_resps"][1]);
  EXPECT_EQ(samples[0]["metrics"], Json({"acc", "acc_norm"}));
}

TEST(Accuracy, HasTheStandardErrorOfTheSampleMean) {
  const std::vector<double> values = {1, 0, 1, 1};
  const Accuracy a = accuracy(values);
  EXPECT_EQ(a.value, 0.75);
  EXPECT_NEAR(*a.standard_error, 0.25, 1e-15);  // sqrt(0.75 / 3) / 2
  EXPECT_LT((*a.ci95)[0], 0.75);
  EXPECT_FALSE(accuracy(std::vector<double>{1}).standard_error);
  EXPECT_FALSE(accuracy(std::vector<double>{1}).ci95);
  EXPECT_EQ(accuracy({}).value, 0);
}

TEST(Pool, WeighsEveryItemTheSameAndPoolsTheVariances) {
  Pool pool;
  pool.add({1, 0, 1, 1});
  pool.add({0, 0, 1});
  EXPECT_NEAR(pool.value().value, 4.0 / 7, 1e-15);
  // pooled_sample_stderr([0.25, 1/3], [4, 3]) of lm-eval 0.4.13.
  const double pooled = (3 * 0.25 * 0.25 * 4 + 2 * (1.0 / 9) * 3) / (7 - 2);
  EXPECT_NEAR(*pool.value().standard_error, std::sqrt(pooled / 7), 1e-15);
  pool.add({1});  // one item has no standard error, and then nor has the whole
  EXPECT_FALSE(pool.value().standard_error);
}

TEST(PythonText, TreatsSpacesAsPython) {
  EXPECT_EQ(strip("\u2003 a b\u00a0\n"), "a b");
  EXPECT_EQ(rstrip(" a\x1f\u3000"), " a");
  EXPECT_EQ(strip(" \t\n"), "");
  EXPECT_EQ(code_points("\u00e9a\U0001f382"), 3);
  EXPECT_EQ(count_split_by_spaces(" a  b\n"), 4);  // "", "a", "b", ""
  EXPECT_EQ(count_split_by_spaces(""), 1);
  EXPECT_EQ(replace_all("    ", "  ", " "), "  ");  // one pass
}

TEST(PythonText, WritesNumbersAsRepr) {
  for (const auto& [value, text] :
       std::vector<std::pair<double, std::string>>{{-12.5, "-12.5"},
                                                   {-3, "-3.0"},
                                                   {0, "0.0"},
                                                   {-1.25e-5, "-1.25e-05"},
                                                   {0.0001, "0.0001"},
                                                   {1e16, "1e+16"},
                                                   {123456789012345680, "1.2345678901234568e+17"},
                                                   {0.1, "0.1"},
                                                   {1e15, "1000000000000000.0"}})
    EXPECT_EQ(repr(value), text);
  EXPECT_EQ(repr(-std::numeric_limits<double>::infinity()), "-inf");
}

TEST(PythonText, CapitalizesTheFirstAndLowersTheRest) {
  EXPECT_EQ(capitalize("\u00e9MILE and iPhone \u0394"), "\u00c9mile and iphone \u03b4");
  EXPECT_EQ(capitalize(""), "");
  EXPECT_EQ(capitalize(" A"), " a");
}

TEST(Wikitext, PagesBeginWithATitle) {
  const auto pages = wikitext_pages(" \n = One = \n \n a \n = = Part = = \n b \n = Two = \n c \n");
  EXPECT_THAT(pages, ElementsAre(" \n = One = \n \n a \n = = Part = = \n b ", " = Two = \n c \n"));
}

TEST(Wikitext, DetokenizesAsLmEval) {
  EXPECT_EQ(wikitext_detokenize(" = = Title = = \n It 's 3 @.@ 5 ( or so ) , \" well \" ; dogs ' N "
                                "[ x ] { y\n z } 5 \u00b0 C ? \n"),
            " == Title ==\nIt's 3.5 (or so), \"well\"; dogs' 1 [x] {y\nz} 5\u00b0C?\n");
}

// ---- data that is wrong: one line naming file, line and remedy

class BadData : public Choice {
 protected:
  BadData() {
    for (const char* set :
         {"piqa", "arc", "hellaswag", "winogrande", "mmlu", "mmlu/dev", "mmlu/test", "lambada"})
      folder.env().make_directories(folder.in(set));
  }
  std::string of(const std::string& name, const std::string& part = {}) {
    for (const auto& [task_name, task] : entries())
      if (task_name == name)
        return error_of([&, &entry = task] {
          TaskInput in = input();
          in.part = part;
          entry.run(in);
        });
    return "no task";
  }
};

TEST_F(BadData, IsRefusedByFileAndLine) {
  const std::string mend = "; mend or remove the line";
  folder.write("piqa/valid.jsonl",
               "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":0}\n\n{\"goal\":\"g\",");
  EXPECT_THAT(of("piqa"), HasSubstr("error[E_JSON] piqa/valid.jsonl:3: not valid JSON"));
  folder.write("piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"label\":0}\n");
  EXPECT_EQ(of("piqa"),
            "error[E_MISSING] piqa/valid.jsonl:1: has no field \"sol2\"; it has \"goal\", "
            "\"sol1\", \"label\"");
  folder.write("piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":[],\"label\":0}\n");
  EXPECT_EQ(of("piqa"), "error[E_TYPE] piqa/valid.jsonl:1: field \"sol2\" is not text" + mend);
  folder.write("piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":2}\n");
  EXPECT_EQ(of("piqa"),
            "error[E_VALUE] piqa/valid.jsonl:1: the right answer is choice 2, and there are 2 "
            "(counted from 0)" +
                mend);
  folder.write("piqa/valid.jsonl",
               "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":\"x\"}\n");
  EXPECT_EQ(of("piqa"),
            "error[E_TYPE] piqa/valid.jsonl:1: field \"label\" is not a whole number" + mend);
  folder.write("piqa/valid.jsonl", "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}\n");
  folder.write("piqa/valid-labels.lst", "0\n1\n");
  EXPECT_EQ(of("piqa"),
            "error[E_MISMATCH] piqa/valid-labels.lst: has 2 labels for the 1 items of "
            "piqa/valid.jsonl; the two files belong together: one label for each item");
  folder.write("piqa/valid-labels.lst", "yes\n");
  EXPECT_EQ(of("piqa"),
            "error[E_TYPE] piqa/valid-labels.lst:1: field \"label\" is not a whole number" + mend);
  folder.write("piqa/valid.jsonl", "[1]\n");
  EXPECT_EQ(
      of("piqa"),
      "error[E_TYPE] piqa/valid.jsonl:1: is not a JSON object; each line holds one item as {...}");
  folder.write("piqa/valid.jsonl", "\n");
  EXPECT_EQ(of("piqa"),
            "error[E_VALUE] piqa/valid.jsonl: holds no items; write one as {...} a line");

  folder.write("arc/ARC-Easy-Test.jsonl",
               R"({"question":{"stem":"s","choices":[{"text":"a","label":"A"}]},"answerKey":"E"})");
  EXPECT_EQ(of("arc_easy"),
            "error[E_VALUE] arc/ARC-Easy-Test.jsonl:1: the right answer \"E\" is none of the "
            "choices \"A\"" +
                mend);
  folder.write("arc/ARC-Easy-Test.jsonl",
               R"({"question":{"stem":"s","choices":[7]},"answerKey":"E"})");
  EXPECT_EQ(
      of("arc_easy"),
      "error[E_MISSING] arc/ARC-Easy-Test.jsonl:1: has no field \"text\"; mend or remove the line");
  folder.write("arc/ARC-Easy-Test.jsonl",
               R"({"question":"s","choices":{"text":["a","b"],"label":["A"]},"answerKey":"A"})");
  EXPECT_THAT(of("arc_easy"), HasSubstr("none of the choices"));
  folder.write("hellaswag/hellaswag_val.jsonl", R"({"query":"q","endings":["a",2],"label":0})");
  EXPECT_EQ(
      of("hellaswag"),
      "error[E_TYPE] hellaswag/hellaswag_val.jsonl:1: field \"endings\" is not a list of texts" +
          mend);
  folder.write("hellaswag/hellaswag_val.jsonl", R"({"query":"q","endings":[],"label":0})");
  EXPECT_EQ(of("hellaswag"),
            "error[E_VALUE] hellaswag/hellaswag_val.jsonl:1: has no choices" + mend);
  folder.write("winogrande/dev.jsonl",
               R"({"sentence":"no gap","option1":"a","option2":"b","answer":"1"})");
  EXPECT_EQ(of("winogrande"),
            "error[E_VALUE] winogrande/dev.jsonl:1: the sentence has no gap \"_\"" + mend);
  folder.write("winogrande/dev.jsonl",
               R"({"sentence":"a _ gap","option1":"a","option2":"b","answer":"3"})");
  EXPECT_THAT(of("winogrande"), HasSubstr("winogrande/dev.jsonl:1: the right answer is choice 2"));
  folder.write("winogrande/dev.jsonl",
               R"({"sentence":"a _ ","option1":"a","option2":"b","answer":"1"})");
  EXPECT_EQ(of("winogrande"),
            "error[E_VALUE] winogrande/dev.jsonl:1: nothing follows the gap, so nothing is scored" +
                mend);
  folder.write("piqa/valid.jsonl", R"({"goal":"g","sol1":"a","sol2":" ","label":0})");
  EXPECT_EQ(of("piqa"),
            "error[E_VALUE] piqa/valid.jsonl:1: choice 1 has no text (counted from 0)" + mend);
  folder.write("lambada/lambada_openai_test.jsonl", R"({"text":" "})");
  EXPECT_EQ(of("lambada_openai"),
            "error[E_VALUE] lambada/lambada_openai_test.jsonl:1: the passage has no word" + mend);
  folder.write("lambada/lambada_openai_test.jsonl", R"({"word":"w"})");
  EXPECT_EQ(of("lambada_openai"),
            "error[E_MISSING] lambada/lambada_openai_test.jsonl:1: has no field \"text\"; it has "
            "\"word\"");
}

TEST_F(BadData, OfCsvIsRefusedByFileAndRow) {
  folder.write("mmlu/dev/anatomy_dev.csv", "q,a,b,c,d,A\n");
  const auto with = [&](const std::string& text) {
    folder.write("mmlu/test/anatomy_test.csv", text);
    return of("mmlu", "anatomy");
  };
  EXPECT_EQ(with("q,a,b,c,d,A\nq,a,b,c,D\n"),
            "error[E_VALUE] mmlu/test/anatomy_test.csv:2: has 5 fields instead of 6 (question, A, "
            "B, C, D, letter); mend or remove the row");
  EXPECT_EQ(with("\"two\nlines\",a,b,c,d,A\nq,a,b,c,d,E\n"),
            "error[E_VALUE] mmlu/test/anatomy_test.csv:3: the right answer \"E\" is none of A, B, "
            "C, D; mend or remove the row");
  EXPECT_EQ(
      with("q,a,b,c,d,A\n\"open,a,b,c,d,A\n"),
      "error[E_VALUE] mmlu/test/anatomy_test.csv:2: a quote is not closed; mend or remove the row");
  EXPECT_EQ(with(""), "error[E_VALUE] mmlu/test/anatomy_test.csv: holds no rows; write one a line");
  EXPECT_EQ(with("q,a,b,c,d,A\n"), "nothing was refused");
}

TEST_F(BadData, AMissingFileIsNamedBeforeAnyWork) {
  const Table<Task> table("task", entries());
  EXPECT_EQ(error_of([&] { check_data(table.at("arc_challenge"), input().places, folder.env()); }),
            "error[E_MISSING] arc/ARC-Challenge-Test.jsonl: is not in the data folder " +
                folder.path() + "; set HALFTONE_DATA or --data to the folder that holds it");
}

}  // namespace
}  // namespace halftone::eval
