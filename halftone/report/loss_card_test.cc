#include "halftone/report/loss_card.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

namespace halftone::report {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// The card of report-ui's example: all numbers invented.
Json measured() {
  return {
      {"schema", 1},
      {"model", "out/awq4"},
      {"reference", "smollm2-fp"},
      {"protocol",
       {{"name", "gptq-2048"},
        {"data", "wikitext2 test"},
        {"windows", 20},
        {"window", 2048},
        {"positions", 40940},
        {"mode", "exact"}}},
      {"size",
       {{"bytes", 86.4e6},
        {"reference_bytes", 269.1e6},
        {"bits_per_weight", 5.14},
        {"nominal_bits", 4.8}}},
      {"speed",
       {{"mode", "int8"},
        {"threads", 2},
        {"isa", "avx2"},
        {"reference", {{"prefill_tok_s", 1165.2}, {"decode_tok_s", 41.2}, {"load_ms", 50}}},
        {"model", {{"prefill_tok_s", 3741.0}, {"decode_tok_s", 118.9}, {"load_ms", 31.2}}}}},
      {"memory", {{"peak_rss_bytes", 171 << 20}, {"reference_peak_rss_bytes", 402 << 20}}},
      {"noise_floor", {{"what", "the reference in f16"}, {"kl_mean", 0.00002}}},
      {"divergence",
       {{"kl_mean", 0.0071},
        {"kl_ci95", {0.0066, 0.0077}},
        {"kl_median", 0.0031},
        {"kl_p90", 0.016},
        {"kl_p99", 0.071},
        {"kl_max", 1.9},
        {"top1_agreement", 0.963},
        {"top1_ci95", {0.960, 0.966}},
        {"reference_perplexity", 16.21},
        {"perplexity", 16.36},
        {"perplexity_ratio_ci95", {1.006, 1.012}}}},
      {"tasks",
       {{{"task", "arc_easy"},
         {"reference", 0.581},
         {"value", 0.565},
         {"change", -0.016},
         {"change_ci95", {-0.026, -0.006}},
         {"lost", 94},
         {"won", 56},
         {"n", 2376},
         {"verdict", "worse"}},
        {{"task", "piqa"},
         {"reference", 0.682},
         {"value", 0.679},
         {"change", -0.003},
         {"change_ci95", {-0.011, 0.007}},
         {"lost", 51},
         {"won", 45},
         {"n", 1838},
         {"verdict", "not shown"}}}},
      {"damage",
       {{{"block", "model.layers.0"}, {"hidden_error", 0.012}},
        {{"block", "model.layers.1"}, {"hidden_error", 0.081}}}},
      {"overlap", {{"shared", 3}, {"places", 8080}, {"share", 3.0 / 8080}, {"windows_share", 0.0}}},
      {"notes", Json::array()}};
}

Json layer(const std::string& op, const std::string& fallback = "") {
  Json out = {
      {"op", op},
      {"format", {{"bits", 4}, {"granularity", "group"}, {"group", 64}, {"symmetric", false}}},
      {"rounder", fallback.empty() ? "gptq" : "nearest"}};
  if (!fallback.empty()) out["fallback"] = fallback;
  return out;
}

Json receipt() {
  return {{"recipe",
           {{"name", "awq_int4_g64"},
            {"summary", "scales by activations"},
            {"keep", {"embedding", "head"}},
            {"dense_dtype", "f16"}}},
          {"calibration",
           {{"samples", 16}, {"length", 512}, {"data", "wikitext2 train"}, {"windows", "random"}}},
          {"layers", {layer("a.q_proj"), layer("a.k_proj")}},
          {"quantized_bits_per_weight", 4.3125}};
}

size_t widest(const std::string& text) {
  size_t most = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) most = std::max(most, line.size());
  return most;
}

TEST(LossCard, ShowsOneSentenceAndARowForEachFigure) {
  EXPECT_EQ("\n" + loss_card(measured(), receipt()), R"(
smollm2-fp -> out/awq4        recipe awq_int4_g64
  close: 1 token in 27 gets another first choice; 1 of 2 tasks is worse (arc_easy)

  size     269.1 -> 86.4 MB     3.11x    5.14 bits/weight (codes alone 4.80)
  speed    41.2 -> 118.9 tok/s  2.89x    decode, 2 threads, avx2, mode int8
           1165 -> 3741 tok/s   3.21x    prefill; loads in 31.2 ms
  memory   402 -> 171 MiB peak
  KL       0.00710 [0.00660, 0.00770] nats/token     noise floor 2.00e-05
           median 0.00310  p90 0.0160  p99 0.0710  max 1.90
  top-1    96.3 % same [96.0, 96.6]
  ppl      16.21 -> 16.36       x1.009 [1.006, 1.012]
           wikitext2 test, 20 windows of 2048, mode exact

  task      before  after  change   95 % paired  lost/won     n
  arc_easy    58.1   56.5    -1.6  [-2.6, -0.6]     94/56  2376  worse
  piqa        68.2   67.9    -0.3   [-1.1, 0.7]     51/45  1838  not shown
  damage   hidden states off by 1.2 % behind the first block, 8.1 % behind the last;
           nowhere above 10 %
  notes    0 fall-backs; calibration 16 x 512; 0.037 % of it in the test text
  saved    measured.json
           where it was lost: halftone check out/awq4 --reference smollm2-fp)");
}

TEST(LossCard, GoesOnBelowWhatDoesNotFit) {
  const std::string card = loss_card(measured(), receipt(), 60);
  EXPECT_LE(widest(card), 60u);
  EXPECT_EQ("\n" + card, R"(
smollm2-fp -> out/awq4        recipe awq_int4_g64
  close: 1 token in 27 gets another first choice; 1 of 2
    tasks is worse (arc_easy)

  size     269.1 -> 86.4 MB     3.11x
           5.14 bits/weight (codes alone 4.80)
  speed    41.2 -> 118.9 tok/s  2.89x
           decode, 2 threads, avx2, mode int8
           1165 -> 3741 tok/s   3.21x
           prefill; loads in 31.2 ms
  memory   402 -> 171 MiB peak
  KL       0.00710 [0.00660, 0.00770] nats/token
           noise floor 2.00e-05
           median 0.00310  p90 0.0160  p99 0.0710  max 1.90
  top-1    96.3 % same [96.0, 96.6]
  ppl      16.21 -> 16.36       x1.009 [1.006, 1.012]
           wikitext2 test, 20 windows of 2048, mode exact

  task      before  after  change   95 % paired
  arc_easy    58.1   56.5    -1.6  [-2.6, -0.6]  worse
  piqa        68.2   67.9    -0.3   [-1.1, 0.7]  not shown
  no room for: n, lost/won (measured.json has all)
  damage   hidden states off by 1.2 % behind the first
           block, 8.1 % behind the last; nowhere above 10 %
  notes    0 fall-backs; calibration 16 x 512; 0.037 % of it
           in the test text
  saved    measured.json
           where it was lost: halftone check out/awq4
           --reference smollm2-fp)");
}

// The same shape, the worst word, and where it began.
TEST(LossCard, SaysThatARunIsBrokenAndWhereItBegan) {
  Json broken = measured();
  broken["tasks"] = Json::array();
  Json& d = broken["divergence"];
  d["kl_mean"] = 7.31;
  d["top1_agreement"] = 0.02;
  d["top1_ci95"] = {0.01, 0.03};
  broken["damage"][1]["hidden_error"] = nullptr;
  const std::string card = loss_card(broken, receipt());
  EXPECT_THAT(card, HasSubstr("\n  broken: 98 of 100 tokens get another first choice\n"));
  EXPECT_THAT(card, HasSubstr("not finite behind the\n           last; above 10 % from "
                              "model.layers.1 on"));
  // Logits that are no numbers have no KL at all.
  broken["divergence"] = nullptr;
  broken["failure"] = "out/awq4: position 3 has a logit that is not finite";
  EXPECT_THAT(loss_card(broken, receipt()),
              HasSubstr("\n  broken: out/awq4: position 3 has a logit that is not finite\n"));
}

TEST(LossCard, SaysNothingOfWhatWasNotMeasured) {
  Json bare = measured();
  for (const char* key : {"speed", "memory", "divergence", "overlap", "noise_floor"})
    bare[key] = nullptr;
  bare["tasks"] = bare["damage"] = Json::array();
  bare["notes"] = {"no text to measure on"};
  const std::string card = loss_card(bare, Json::object());
  EXPECT_THAT(card, HasSubstr("its quality was not measured"));
  EXPECT_THAT(card, HasSubstr("notes    no text to measure on\n"));
  for (const char* word : {"speed", "memory", "KL", "top-1", "fall-back", "recipe"})
    EXPECT_THAT(card, Not(HasSubstr(word))) << word;
  EXPECT_THAT(card, HasSubstr("saved    measured.json"));
  bare.erase("schema");  // kept nowhere
  EXPECT_THAT(loss_card(bare, Json::object()), Not(HasSubstr("saved")));
  Json same = measured();
  same["divergence"]["kl_mean"] = 0.00002;  // the noise floor
  EXPECT_THAT(loss_card(same, receipt()), HasSubstr("\n  identical within noise: "));
}

TEST(Explanation, TellsWhatWasDoneWhatFellBackAndWhatWasSeen) {
  std::vector<std::string> said = explanation(measured(), receipt());
  EXPECT_THAT(said, Contains("Recipe awq_int4_g64: scales by activations."));
  EXPECT_THAT(said, Contains("2 linears have weights of 4 bits in groups of 64 with zero-points, "
                             "rounded by gptq."));
  EXPECT_THAT(said, Contains("With scales and zero-points such a weight takes 4.312 bits."));
  EXPECT_THAT(said, Contains("Nothing fell back: every linear was rounded as the recipe says."));
  EXPECT_THAT(said, Contains(HasSubstr("3 of 8080 runs of 16 tokens of the calibration text "
                                       "(0.037 %) stand in the test text, too: phrases")));
  for (const std::string& sentence : said) EXPECT_TRUE(sentence.ends_with('.')) << sentence;

  Json seen = measured(), fell = receipt();
  seen["overlap"] = {{"shared", 8080}, {"places", 8080}, {"share", 1.0}, {"windows_share", 0.25}};
  fell["layers"].push_back(layer("b.q_proj", "H is singular"));
  fell["layers"].push_back(layer("b.k_proj", "H is singular"));
  said = explanation(seen, fell);
  EXPECT_THAT(said, Contains(HasSubstr("CALIBRATION AND TEST TEXT OVERLAP: 8080 of 8080 runs")));
  EXPECT_THAT(said,
              Contains("Rounded to the nearest code instead, because H is singular: b.q_proj, "
                       "b.k_proj."));
  EXPECT_THAT(loss_card(seen, fell), HasSubstr("2 fall-backs"));
  EXPECT_THAT(explanation(Json(), Json()), testing::SizeIs(1));
}

TEST(Wrapped, CutsAtSpacesAndLeavesLongWordsWhole) {
  EXPECT_EQ(wrapped("one two three four", 9, 2), "one two\n  three\n  four");
  EXPECT_EQ(wrapped("abcdefghijkl mn", 5, 1), "abcdefghijkl\n mn");
  EXPECT_EQ(wrapped("short", 9, 2), "short");
}

}  // namespace
}  // namespace halftone::report
