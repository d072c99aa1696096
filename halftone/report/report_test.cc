#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

TEST(Report, SaysTheVerdictOfTheClosestCandidateInWords) {
  const std::string page = comparison_page(comparison("rtn"), {{"command", "halftone compare"}});
  EXPECT_THAT(
      page,
      testing::HasSubstr(
          "<strong>close</strong>: 1 token in 27 gets another first choice; 5.56 times smaller"));
  EXPECT_THAT(page, testing::HasSubstr("<strong>strong change</strong>"));
  EXPECT_THAT(page, testing::HasSubstr("<svg"));
  EXPECT_EQ(page, comparison_page(comparison("rtn"), {{"command", "halftone compare"}}));
}

TEST(Report, SaysNothingOfSpeedThatWasNotMeasuredNorOfWindowsThatThereWere) {
  Json result = comparison("rtn");
  for (Json& row : result["models"]) {
    row["kl_ci95"] = {0, 0};
    for (const char* key : {"decode_tok_s", "prefill_tok_s", "peak_rss_bytes"}) row[key] = nullptr;
  }
  const std::string page = comparison_page(result, {{"command", "halftone compare"}});
  EXPECT_THAT(page, testing::HasSubstr("95 % [0, 0]"));
  EXPECT_THAT(page, testing::Not(testing::HasSubstr("one window")));
  EXPECT_THAT(page, testing::Not(testing::HasSubstr("mode int8")));
  result["windows"] = 1;
  EXPECT_THAT(comparison_page(result, {}), testing::HasSubstr("one window: no interval"));
}

TEST(Report, TextFromModelsIsNeverMarkup) {
  const std::string page =
      comparison_page(comparison("<script>alert(1)</script>"), {{"command", "a\"<b>"}});
  EXPECT_THAT(page, testing::Not(testing::HasSubstr("<script")));
  EXPECT_THAT(page, testing::Not(testing::HasSubstr("<b>")));
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
  const std::string page = comparison_page(result, {});
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
