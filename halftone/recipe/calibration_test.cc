#include "halftone/recipe/calibration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>

#include "halftone/files/test_files.h"

namespace halftone::recipe {
namespace {

using files::testing_files::line_of;
using files::testing_files::TempFolder;
using testing::ElementsAre;
using testing::HasSubstr;
using Windows = CalibrationRequest::Windows;
using Bos = CalibrationRequest::Bos;

constexpr int32_t kBos = 1000;

// One token a byte.
TextSide bytes_as_tokens() {
  TextSide text;
  text.encode = [](std::string_view s) { return std::vector<int32_t>(s.begin(), s.end()); };
  text.bos = kBos;
  return text;
}

// The id of a token is its position, so that a window shows where it was cut.
TextSide positions_as_tokens() {
  TextSide text = bytes_as_tokens();
  text.encode = [](std::string_view s) {
    std::vector<int32_t> ids(s.size());
    std::iota(ids.begin(), ids.end(), 0);
    return ids;
  };
  return text;
}

class Calibration : public testing::Test {
 protected:
  CalibrationSet make(const CalibrationRequest& request, const TextSide& text) {
    return make_calibration(
        request, text, {.data_dir = folder.path(), .hub_cache = "", .parquet = {}}, folder.context);
  }
  std::string refusal(const CalibrationRequest& request, const TextSide& text) {
    return line_of([&] { make(request, text); });
  }
  std::string write_jsonl(const std::vector<std::string>& documents) {
    std::string lines;
    for (const auto& d : documents) lines += Json{{"text", d}}.dump() + "\n";
    return folder.write("documents.jsonl", lines);
  }
  TempFolder folder;
};

// random.seed(0); [random.randint(0, 339420) for _ in range(6)] in CPython: 201979 220500 21225
// 135746 268055 254766
TEST_F(Calibration, WindowsOfAJoinedTextAreThoseOfPython) {
  const std::string path = folder.write("long.txt", std::string(339'420 + 8 + 1, 'x'));
  const auto set =
      make({.data = path, .samples = 6, .length = 8, .seed = 0, .windows = Windows::gptq},
           positions_as_tokens());
  std::vector<int32_t> starts;
  for (const auto& ids : set.samples) {
    ASSERT_EQ(ids.size(), 8u);
    starts.push_back(ids[0]);
    EXPECT_EQ(ids[7], ids[0] + 7);
  }
  EXPECT_THAT(starts, ElementsAre(201979, 220500, 21225, 135746, 268055, 254766));
  EXPECT_EQ(set.report.tokens_available, 339'429);
  EXPECT_EQ(set.report.tokens_used, 48);
  EXPECT_EQ(set.report.tokens_dropped, 339'429 - 48);
  EXPECT_EQ(set.report.tokens_repeated, 0);
  EXPECT_EQ(set.report.bos, "none");
  EXPECT_EQ(set.report.scarce, "");
}

// random.seed(3); i = randint(0, 3) until len(doc[i]) > 4; then randint(0, len - 4 - 1). Documents
// of 2, 6, 9 and 4 tokens. In CPython:
// [(1, 0), (2, 4), (2, 4)] as (document, start).
TEST_F(Calibration, WindowsOfDocumentsPickTheDocumentFirst) {
  const std::string path = write_jsonl({"aa", "bbbbbb", "ccccccccc", "dddd"});
  TextSide text = bytes_as_tokens();
  text.encode = [](std::string_view s) {
    std::vector<int32_t> ids;
    for (size_t i = 0; i < s.size(); ++i) ids.push_back(s[0] * 100 + static_cast<int32_t>(i));
    return ids;
  };
  const auto set =
      make({.data = path, .samples = 3, .length = 4, .seed = 3, .windows = Windows::gptq}, text);
  std::vector<int32_t> starts;
  for (const auto& ids : set.samples) starts.push_back(ids[0]);
  EXPECT_THAT(starts, ElementsAre('b' * 100 + 0, 'c' * 100 + 4, 'c' * 100 + 4));
  EXPECT_EQ(set.report.documents, 2);
  EXPECT_THAT(set.report.scarce, HasSubstr("3 windows of 4 tokens come from 2 documents"));
}

TEST_F(Calibration, BosStandsWhereTheTokenizerPutsIt) {
  const std::string path = folder.write("t.txt", std::string(50, 'x'));
  TextSide text = bytes_as_tokens();
  text.adds_bos = true;
  CalibrationRequest request{
      .data = path, .samples = 2, .length = 10, .seed = 1, .windows = Windows::gptq};
  // The joined text has it once, at its very start: windows cut elsewhere carry none.
  auto set = make(request, text);
  EXPECT_EQ(set.report.tokens_available, 51);
  EXPECT_EQ(set.report.bos, "once, before the joined text");
  request.bos = Bos::each_sample;
  set = make(request, text);
  EXPECT_EQ(set.samples[0][0], kBos);
  EXPECT_EQ(set.samples[1].size(), 10u);
  EXPECT_EQ(set.report.tokens_available, 50);
  request.bos = Bos::never;
  EXPECT_EQ(make(request, text).report.tokens_available, 50);
  request.windows = Windows::document;
  request.bos = Bos::auto_;
  set = make(request, text);
  EXPECT_EQ(set.samples[0][0], kBos);
  EXPECT_EQ(set.report.bos, "before each document");
  text.bos = -1;
  request.bos = Bos::each_sample;
  EXPECT_THAT(refusal(request, text), HasSubstr("the model's tokenizer has no BOS token"));
}

TEST_F(Calibration, DocumentWindowsUseEachTokenOnce) {
  std::vector<std::string> documents;
  for (char c = 'a'; c < 'k'; ++c) documents.emplace_back(10, c);
  const std::string path = write_jsonl(documents);
  const CalibrationRequest request{.data = path, .samples = 3, .length = 15, .seed = 5};
  const auto set = make(request, bytes_as_tokens());
  std::map<int32_t, int> seen;
  for (const auto& ids : set.samples)
    for (const int32_t id : ids) ++seen[id];
  EXPECT_EQ(seen.size(), 5u);  // 45 tokens of documents of 10
  EXPECT_EQ(set.report.documents, 5);
  EXPECT_EQ(set.report.tokens_available, 50);
  EXPECT_EQ(set.report.tokens_dropped, 5);
  EXPECT_EQ(set.report.fingerprint, make(request, bytes_as_tokens()).report.fingerprint);
  CalibrationRequest other = request;
  other.seed = 6;
  EXPECT_NE(set.report.fingerprint, make(other, bytes_as_tokens()).report.fingerprint);
}

TEST_F(Calibration, TooLittleTextIsSaid) {
  const std::string path = folder.write("t.txt", std::string(50, 'x'));
  EXPECT_EQ(refusal({.data = path, .samples = 6, .length = 10}, bytes_as_tokens()),
            "error[E_USAGE] calibration: t.txt has 50 tokens, 6 samples of 10 need 60; use "
            "--samples 5, a shorter --length, more text "
            "(--data), or overlapping windows (windows: gptq in the recipe)");
  const auto set =
      make({.data = path, .samples = 6, .length = 10, .seed = 0, .windows = Windows::gptq},
           bytes_as_tokens());
  EXPECT_EQ(set.report.scarce,
            "t.txt has 50 tokens, fewer than the 6 windows of 10 hold (60): windows overlap");
  EXPECT_THAT(folder.log, HasSubstr("windows overlap"));
  EXPECT_EQ(set.report.tokens_used + set.report.tokens_repeated, 60);
  EXPECT_EQ(set.report.tokens_used + set.report.tokens_dropped, 50);
  EXPECT_THAT(
      refusal({.data = path, .samples = 1, .length = 50, .seed = 0, .windows = Windows::gptq},
              bytes_as_tokens()),
      HasSubstr("has 50 tokens, one window of 50 needs more"));
  const std::string documents = write_jsonl({"abc", "defg"});
  EXPECT_THAT(
      refusal({.data = documents, .samples = 1, .length = 4, .seed = 0, .windows = Windows::gptq},
              bytes_as_tokens()),
      HasSubstr("no document of documents.jsonl is longer than 4 tokens (the longest has 4)"));
  EXPECT_THAT(
      refusal({.data = "wikitext2", .samples = 1, .length = 4}, bytes_as_tokens()),
      ::testing::AllOf(HasSubstr("looked for as wikitext2/train_first_1MB.txt in the data folder "
                                 "(HALFTONE_DATA: "),
                       HasSubstr(") and as Salesforce/wikitext in the hub cache")));
  EXPECT_THAT(refusal({.data = "c4", .samples = 1, .length = 4}, bytes_as_tokens()),
              HasSubstr("the hub cache is not read for c4"));
  EXPECT_THAT(refusal({.data = "wikitex", .samples = 1, .length = 4}, bytes_as_tokens()),
              HasSubstr("unknown text set"));
  EXPECT_THAT(refusal({.data = "absent.txt", .samples = 1, .length = 4}, bytes_as_tokens()),
              HasSubstr("no such file"));
}

TEST_F(Calibration, TextThatEvaluationScoresIsNamedAndWarnedOf) {
  folder.env().make_directories(folder.in("ptb"));
  folder.write("ptb/ptb.valid.txt", " one sentence \n another \n");
  folder.log.clear();
  const auto set = make({.data = "ptb", .samples = 1, .length = 8, .seed = 0}, bytes_as_tokens());
  EXPECT_EQ(set.report.data, "ptb validation (no train part at hand)");
  EXPECT_THAT(folder.log, HasSubstr("ptb: there is no ptb/ptb.train.txt"));
  EXPECT_THAT(folder.log, HasSubstr("also what the task ptb scores"));
}

TEST_F(Calibration, WikiTextIsJoinedAsTheScriptsDoAndSplitIntoArticles) {
  folder.env().make_directories(folder.in("wikitext2"));
  folder.write("wikitext2/train_first_1MB.txt",
               " \n = One = \n \n some words \n = = Part = = \n = Two = \n more \n");
  std::string seen;
  TextSide text = bytes_as_tokens();
  text.encode = [&](std::string_view s) {
    if (seen.empty()) seen = s;
    return std::vector<int32_t>(s.begin(), s.end());
  };
  const auto set = make(
      {.data = "wikitext2", .samples = 2, .length = 8, .seed = 0, .windows = Windows::gptq}, text);
  EXPECT_EQ(seen,
            "\n\n = One = \n\n\n\n\n some words \n\n\n = = Part = = \n\n\n = Two = \n\n\n more \n");
  EXPECT_EQ(set.report.data, "wikitext2-partial train");
  seen.clear();
  make({.data = "wikitext2", .samples = 1, .length = 20}, text);
  EXPECT_THAT(seen, testing::AnyOf(testing::StartsWith("\n\n = One = \n"),
                                   testing::StartsWith(" = Two = \n")));
}

TEST_F(Calibration, AutoTakesWikiTextOrElseTheModelItself) {
  TextSide text = bytes_as_tokens();
  text.sample = [](int64_t samples, int64_t length, uint64_t) {
    return std::vector<std::vector<int32_t>>(static_cast<size_t>(samples),
                                             std::vector<int32_t>(static_cast<size_t>(length), 7));
  };
  auto set = make({.data = "auto", .samples = 2, .length = 8}, text);
  EXPECT_EQ(set.report.data, "self");
  EXPECT_THAT(set.samples[1], testing::Each(7));
  EXPECT_THAT(folder.log, HasSubstr("sampled from the model"));
  folder.env().make_directories(folder.in("wikitext2"));
  folder.write("wikitext2/train_first_1MB.txt", std::string(100, 'x') + "\n");
  EXPECT_EQ(make({.data = "auto", .samples = 2, .length = 8}, text).report.data,
            "wikitext2-partial train");
  text.sample = nullptr;
  EXPECT_THAT(refusal({.data = "self", .samples = 2, .length = 8}, text),
              HasSubstr("sampling from the model needs an engine"));
}

TEST_F(Calibration, ChatTemplateIsAppliedToDocuments) {
  const std::string path = write_jsonl({"hello", "world"});
  CalibrationRequest request{.data = path, .samples = 1, .length = 14};
  request.chat_template = true;
  EXPECT_THAT(refusal(request, bytes_as_tokens()), HasSubstr("the model has no chat template"));
  TextSide text = bytes_as_tokens();
  text.chat_template = [](std::string_view user) { return "<" + std::string(user) + ">"; };
  const auto set = make(request, text);
  EXPECT_EQ(set.samples[0][0], '<');
  EXPECT_EQ(set.samples[0][6], '>');
  EXPECT_EQ(set.report.chat_template, "each document is one user turn");
  request.windows = Windows::gptq;
  EXPECT_THAT(refusal(request, text), HasSubstr("windows: gptq joins them"));
}

TEST_F(Calibration, StoriesAreSplitAtTheirSeparator) {
  const std::string path = folder.write("s.txt", "one\n<|endoftext|>\ntwo2\n<|endoftext|>\n");
  std::vector<std::string> seen;
  TextSide text = bytes_as_tokens();
  text.encode = [&](std::string_view s) {
    seen.emplace_back(s);
    return std::vector<int32_t>(s.begin(), s.end());
  };
  make({.data = path, .samples = 1, .length = 7}, text);
  EXPECT_THAT(seen, testing::UnorderedElementsAre("one", "two2"));
}

}  // namespace
}  // namespace halftone::recipe
