// halftone score as its users meet it. The scores are held against other programs' in
// halftone/eval/scores_test.cc.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "tests/tiny_model.h"

namespace halftone::tests {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class Score : public TinyModel {};

TEST_F(Score, OfTextsHasThePromisedShape) {
  write("a.txt", "the cat sat on the mat\n\na dog ran home today\n");
  write("b.jsonl", "{\"text\": \"a cat\"}\n\n{\"text\": \"x\"}\n{\"text\": \"dog\"}\n");
  write("r.txt", "the cat sat on a mat\nnothing\na dog ran home today\n");
  const std::vector<std::string> words = {"score",       scratch.path("a.txt"),
                                          "--reference", scratch.path("r.txt"),
                                          "--reference", scratch.path("a.txt")};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.begin(), words.begin(), words.end());
    return more;
  };
  const Json both = json_of(with({"--metrics", "bleu,chrf++,rougeL", "--against",
                                  scratch.path("b.jsonl"), "--log-samples", scratch.path("log")}));
  EXPECT_EQ(both["items"], 3);
  EXPECT_EQ(both["empty"], 1);
  EXPECT_EQ(both["empty_references"], 1);
  EXPECT_EQ(both["blank_lines"], 1);  // of b.jsonl
  EXPECT_EQ(keys_of(both["scores"]), (std::set<std::string>{"bleu", "chrf++", "rougeL"}));
  EXPECT_EQ(keys_of(both["scores"]["bleu"]),
            (std::set<std::string>{"title", "value", "ci95", "signature", "precisions",
                                   "brevity_penalty", "words", "reference_words", "against"}));
  EXPECT_DOUBLE_EQ(both["scores"]["bleu"]["value"].get<double>(),
                   100);  // the text itself is a reference
  EXPECT_EQ(both["scores"]["bleu"]["signature"], "nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp");
  EXPECT_EQ(keys_of(both["scores"]["rougeL"]["against"]),
            (std::set<std::string>{"value", "ci95", "difference", "difference_ci95", "p"}));
  std::istringstream log(env->read_text(scratch.path("log"), 1 << 20));
  std::vector<Json> samples;
  for (std::string line; std::getline(log, line);) samples.push_back(parse_json(line, "log"));
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[2]["where"], scratch.path("a.txt") + ":3");
  EXPECT_EQ(samples[2]["rougeL"], 1);
  EXPECT_LT(samples[2]["rougeL_against"].get<double>(), 1);
  const Outcome text = halftone(words);
  EXPECT_THAT(text.out, StartsWith("BLEU|nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp = 100.00 ["));
  EXPECT_THAT(text.out, HasSubstr("3 items, 1 without text, 1 references without text;"));
}

TEST_F(Score, OfLabelsDrawsTheConfusions) {
  write("p.lst", "yes\nno\nyes\nno\nmaybe\n");
  write("gold.tsv", "text\tlabel\na\tyes\nb\tno\nc\tno\nd\tno\ne\tyes\n");
  const std::vector<std::string> words = {"score", scratch.path("p.lst"), "--labels",
                                          scratch.path("gold.tsv")};
  const Json result = json_of(words);
  EXPECT_EQ(result["labels"], (Json{"maybe", "no", "yes"}));
  EXPECT_EQ(result["confusion"], (Json{{0, 0, 0}, {0, 2, 1}, {1, 0, 1}}));
  EXPECT_DOUBLE_EQ(result["accuracy"]["value"].get<double>(), 0.6);
  EXPECT_EQ(result["by_label"][0]["recall"]["value"], 0);
  EXPECT_EQ(result["by_label"][1]["support"], 3);
  std::vector<std::string> against = words;
  against.insert(against.end(), {"--against", scratch.path("gold.tsv")});
  EXPECT_EQ(json_of(against)["mcnemar"]["only_second_right"], 2);
  EXPECT_DOUBLE_EQ(json_of(against)["mcnemar"]["exact_p"].get<double>(), 0.5);
  EXPECT_THAT(halftone(words).out, HasSubstr("\n            no     0      2▓     1▒"));
  std::string many, shifted;
  for (int i = 0; i < 30; ++i) {
    many += "label" + std::to_string(i) + "\n";
    shifted += "label" + std::to_string(i / 2) + "\n";
  }
  write("many", many);
  write("shifted", shifted);
  EXPECT_THAT(
      halftone({"score", scratch.path("shifted"), "--labels", scratch.path("many")}).out,
      HasSubstr("most frequent mistakes (--json has all):\n       1  label1 taken for label0\n"));
}

TEST_F(Score, RefusesInOneLineThatNamesTheRemedy) {
  write("three", "a\nb\nc\n");
  write("two", "a\nb\n");
  write("gap", "a\n\nc\n");
  write("empty", "");
  write("cut.jsonl", "{\"text\": \"a\"}\n{\"text\": \"b\n");
  const auto refused = [&](std::vector<std::string> words, int exit, const std::string& part) {
    words.insert(words.begin(), "score");
    for (std::string& word : words)
      if (env->stat(scratch.path(word))) word = scratch.path(word);
    const Outcome outcome = halftone(words);
    EXPECT_EQ(outcome.exit, exit) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  };
  refused({"three", "--reference", "two"}, 3,
          "two: has 2 items, and " + scratch.path("three") +
              " has 3; give files with the same items in the same order");
  refused({"three", "--labels", "gap"}, 3,
          "gap:2: has no label; write the label of the item, or remove the line");
  refused({"empty", "--reference", "empty"}, 3, "holds no items; give a file");
  refused({"cut.jsonl", "--reference", "two"}, 3, "cut.jsonl:2: not valid JSON");
  refused({"nothing", "--reference", "two"}, 3, "nothing: no such file");
  refused({"two"}, 2, "add --reference FILE for texts, or --labels FILE for labels");
  refused({"two", "--reference", "two", "--labels", "two"}, 2, "give one of them");
  refused({"two", "--labels", "two", "--metrics", "bleu"}, 2, "--metrics: is for texts");
  refused({"two", "--reference", "two", "--metrics", "blue"}, 2, "did you mean bleu?");
  refused({"two", "--reference", "two", "--tokenize", "zh"}, 2, "known: 13a, char, none");
  refused({"two", "--reference", "two", "--log-samples", "two"}, 2, "is read by this command");
  refused({"three", "--labels", "three", "--field", "x", "--against", "two"}, 3, "has 2 items");
}

}  // namespace
}  // namespace halftone::tests
