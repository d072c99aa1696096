#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "halftone/report/comparison.h"

namespace halftone::report {
namespace {

Json row(const std::string& name, double bytes, double kl, double same) {
  return {{"name", name},
          {"bytes", bytes},
          {"bits_per_weight", 5},
          {"kl_mean", kl},
          {"kl_ci95", {kl * 0.9, kl * 1.1}},
          {"kl_p99", kl * 9},
          {"top1_agreement", same},
          {"top1_ci95", {same - 0.001, same}},
          {"perplexity", 16},
          {"decode_tok_s", 50},
          {"prefill_tok_s", 500},
          {"peak_rss_bytes", 1e8}};
}

Json comparison(const std::string& name) {
  return {
      {"models", {row("ref", 5e8, 0, 1), row(name, 9e7, 0.05, 0.9), row("gptq", 9e7, 0.02, 0.963)}},
      {"protocol", "gptq-2048"},
      {"windows", 8},
      {"positions", 100},
      {"data", "wikitext2 test"},
      {"mode", "exact"},
      {"threads", 2},
      {"isa", "avx2"}};
}

// The page's text without the marks of where its figures come from.
std::string unmarked(const std::string& page) {
  constexpr std::string_view kMark = "<span data-path=";
  std::string out;
  for (size_t at = 0, end = std::min(page.find("<script"), page.size()); at < end;) {
    if (page.compare(at, kMark.size(), kMark) != 0) {
      out += page[at++];
      continue;
    }
    const size_t text = page.find('>', at) + 1, close = page.find("</span>", text);
    out += page.substr(text, close - text);
    at = close + std::string_view("</span>").size();
  }
  return out;
}

TEST(Report, SaysTheVerdictOfTheClosestCandidateInWords) {
  const std::string page = comparison_page(comparison("rtn"), {{"command", "halftone compare"}});
  EXPECT_THAT(
      page,
      testing::HasSubstr(
          "<strong>close</strong>: 1 token in 27 gets another first choice; 5.56 times smaller"));
  EXPECT_THAT(page, testing::HasSubstr("<strong>strong change</strong>"));
  EXPECT_EQ(page, comparison_page(comparison("rtn"), {{"command", "halftone compare"}}));
}

TEST(Report, SaysNothingOfSpeedThatWasNotMeasuredNorOfWindowsThatThereWere) {
  Json result = comparison("rtn");
  for (Json& row : result["models"]) {
    row["kl_ci95"] = {0, 0};
    for (const char* key : {"decode_tok_s", "prefill_tok_s", "peak_rss_bytes"}) row[key] = nullptr;
  }
  const std::string page = unmarked(comparison_page(result, {{"command", "halftone compare"}}));
  EXPECT_THAT(page, testing::HasSubstr("95 % [0, 0]"));
  EXPECT_THAT(page, testing::Not(testing::HasSubstr("one window")));
  EXPECT_THAT(page, testing::Not(testing::HasSubstr("mode int8")));
  result["windows"] = 1;
  EXPECT_THAT(comparison_page(result, {}), testing::HasSubstr("one window: no interval"));
}

TEST(Report, TextFromModelsIsNeverMarkup) {
  const std::string page =
      comparison_page(comparison("<script>alert(1)</script>"), {{"command", "a\"<b>"}});
  EXPECT_THAT(page, testing::Not(testing::HasSubstr("<script>alert")));
  EXPECT_THAT(page, testing::Not(testing::HasSubstr("<b>\"")));
  EXPECT_THAT(page, testing::HasSubstr("\\u003cscript>alert(1)\\u003c/script>"));  // as JSON
  EXPECT_EQ(escape_html("a\u202eb\u200b\x07\xff\n<"),
            "a[U+202E]b[U+200B][U+0007]\xef\xbf\xbd &lt;");
  EXPECT_EQ(
      escape_html("\xe2\x80 \xc0\xaf \xed\xa0\x80"),  // cut, too long, half of a pair
      "\xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(Report, FiguresSayWhichNumberTheyShow) {
  const Json data = {{"a", {{{"bytes", 1234567}, {"ci95", {0.25, 0.5}}}}}, {"none", nullptr}};
  const Figures figures(data);
  EXPECT_EQ(figures.fixed("/a/0/bytes", 1, 1e-6),
            "<span data-path=\"/a/0/bytes\" data-scale=\"1e-06\">1.2</span>");
  EXPECT_EQ(figures.significant("/none"), "&#8211;");
  EXPECT_EQ(figures.significant("/a/1/bytes"), "&#8211;");
  EXPECT_EQ(unmarked(figures.interval("/a/0/ci95", 1, 100)),
            " <span class=\"quiet\">[25.0, 50.0]</span>");
  EXPECT_EQ(figures.interval("/none"), "");
}

TEST(Report, ListsThatBeginWithTheSameKeysArePacked) {
  const Json rows = {
      {{"a", 1}, {"b", "x"}}, {{"a", 2}, {"b", "y"}}, {{"a", 3}}, {{"a", 4}, {"b", nullptr}}};
  EXPECT_EQ(
      packed_lists({{"list", rows}, {"few", {{{"a", 1}}}}}).dump(),
      R"({"list":{"columns":["a","b"],"rows":[[1,"x"],[2,"y"],[3],[4,null]]},"few":[{"a":1}]})");
  const Json other = {{{"a", 1}, {"b", 2}}, {{"b", 1}, {"a", 2}}, {{"a", 1}}, {{"a", 1}}};
  EXPECT_EQ(packed_lists(other), other);
  EXPECT_EQ(packed_lists({1, 2, 3, 4, 5}), Json({1, 2, 3, 4, 5}));
}

TEST(Report, RecipesStandBesideEachOtherFieldByField) {
  Json result = comparison("rtn");
  result["models"][1]["recipe"] = {{"name", "<b>"}, {"format", {{"bits", 4}}}, {"keep", {"head"}}};
  result["models"][2]["recipe"] = {
      {"name", "<b>"}, {"format", {{"bits", 8}, {"group", 64}}}, {"keep", {"head"}}};
  const std::string page = comparison_page(result, {});
  EXPECT_THAT(page, testing::HasSubstr("2 of 4 fields differ"));
  EXPECT_THAT(page,
              testing::HasSubstr("format.bits</th><td><bdi>4</bdi></td><td><bdi>8</bdi></td>"));
  EXPECT_THAT(page, testing::HasSubstr("format.group</th><td>&#8211;</td><td><bdi>64</bdi></td>"));
  EXPECT_THAT(page, testing::HasSubstr("<bdi>&lt;b&gt;</bdi>"));
}

TEST(Report, HasASectionWhereThereIsSomethingForIt) {
  Json result = comparison("rtn");
  const std::string without = comparison_page(result, {});
  for (const char* id : {"tasks", "damage", "answers", "sweep", "ranges"})
    EXPECT_THAT(without, testing::Not(testing::HasSubstr("id=\"" + std::string(id) + "\"")));
  result["models"][1]["weights"] = {{{"op", "l.0.q"},
                                     {"block", 0},
                                     {"role", "query"},
                                     {"bits", 4.5},
                                     {"bytes", 100},
                                     {"relative_error", 0.0625}}};
  result["models"][1]["units"] = {{{"unit", "query"},
                                   {"kind", "role"},
                                   {"block", nullptr},
                                   {"role", "query"},
                                   {"kl_only", 0.01},
                                   {"kl_without", 0.03},
                                   {"saved", 0.25},
                                   {"bytes", 1e6},
                                   {"bytes_8bit", 2e6}}};
  result["models"][1]["units_measured"] = {
      {"kl_mean", 0.04}, {"protocol", "gptq-256"}, {"windows", 2}};
  result["models"][1]["advice"] = {{{"keep", "<b>"},
                                    {"bits", 8},
                                    {"predicted_kl_change", -0.25},
                                    {"extra_bytes", 1e6},
                                    {"override", nullptr}}};
  result["models"][1]["tasks"] = {{{"task", "piqa"},
                                   {"metric", "acc"},
                                   {"n", 8},
                                   {"skipped", 3},
                                   {"reference", 0.5},
                                   {"value", 0.25},
                                   {"change", -0.25},
                                   {"change_ci95", {-0.5, -0.125}},
                                   {"lost", 2},
                                   {"won", 0},
                                   {"p_holm", 0.01},
                                   {"verdict", "worse"}}};
  const std::string page = unmarked(comparison_page(result, {}));
  EXPECT_THAT(page, testing::HasSubstr("Furthest from the reference: l.0.q 6.25 %."));
  EXPECT_THAT(page, testing::HasSubstr("<bdi>query</bdi></th><td>role</td><td>25.0</td>"
                                       "<td>0.0300</td><td>25.0</td><td>0.0100</td><td>1.00</td>"
                                       "<td>2.00</td>"));
  EXPECT_THAT(
      page, testing::HasSubstr("<li>keep <bdi>&lt;b&gt;</bdi> at 8 bits: KL -25 %, +1.00 MB</li>"));
  EXPECT_THAT(page, testing::HasSubstr("<td>8 <span class=\"quiet\">3 skipped</span></td>"));
  EXPECT_THAT(page, testing::HasSubstr(
                        "<td>-25.0 <span class=\"quiet\">[-50.0, -12.5]</span></td><td>2/0</td>"));
  EXPECT_THAT(page, testing::HasSubstr("; 1 of 1 tasks is worse."));
}

TEST(Report, AnswersToPromptsAreShownWhereThereAreSome) {
  Json result = comparison("rtn");
  EXPECT_THAT(comparison_page(result, {}), testing::Not(testing::HasSubstr("answer the same")));
  result["prompts"] = {{"file", "<b>.txt"}, {"count", 8}, {"tokens", 64}};
  for (size_t i = 1; i < result["models"].size(); ++i)
    result["models"][i]["fidelity"] = {
        {"exact", {{"value", 0.25}, {"ci95", {0.125, 0.5}}}},
        {"common_prefix", {{"value", 17.5}, {"ci95", nullptr}}},
        {"scores",
         {{"bleu", {{"title", "BLEU"}, {"value", 61.5}, {"ci95", {50, 70}}, {"signature", ""}}}}}};
  const std::string page = unmarked(comparison_page(result, {}));
  EXPECT_THAT(page, testing::HasSubstr("<td>25.0 <span class=\"quiet\">[12.5, 50.0]</span></td>"));
  EXPECT_THAT(page, testing::HasSubstr("<td>17.5</td><td>61.5 <span"));
  EXPECT_THAT(page, testing::HasSubstr("to 8 prompts of &lt;b&gt;.txt"));
}

TEST(Report, LadderOfWords) {
  EXPECT_EQ(closeness(0.995), "nearly identical");
  EXPECT_EQ(closeness(0.96), "close");
  EXPECT_EQ(closeness(0.95), "noticeable");
  EXPECT_EQ(closeness(0.85), "strong change");
  EXPECT_EQ(closeness(0.5), "broken");
}

}  // namespace
}  // namespace halftone::report
