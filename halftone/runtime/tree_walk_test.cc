// Rows of many texts at once are, to the bit, those of each text alone.
#include "halftone/runtime/tree_walk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "halftone/base/error.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/test_support.h"

namespace halftone::runtime {
namespace {

using testing::Bench;
using testing::fixture;
using testing::some_ids;

std::vector<int32_t> joined(std::vector<int32_t> a, const std::vector<int32_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Texts as tasks bring them: examples shared by questions, questions shared by answers, answers
// that begin alike, the same text twice, texts that share nothing, one that is the beginning of
// another.
std::vector<std::vector<int32_t>> task_texts() {
  const auto shots = some_ids(40, 1);
  std::vector<std::vector<int32_t>> out;
  for (uint64_t question = 0; question < 5; ++question) {
    const auto asked = joined(shots, some_ids(9 + static_cast<int64_t>(question), 10 + question));
    for (uint64_t answer = 0; answer < 4; ++answer)
      out.push_back(joined(asked, some_ids(1 + static_cast<int64_t>(answer) * 5, 50 + answer / 2)));
    out.push_back(asked);
    out.push_back(asked);
  }
  for (uint64_t i = 0; i < 6; ++i) out.push_back(some_ids(3 + static_cast<int64_t>(i) * 7, 90 + i));
  out.push_back({out.back().begin(), out.back().begin() + 20});
  return out;
}

std::vector<eval::WantedText> wanted_of(const std::vector<std::vector<int32_t>>& texts) {
  std::vector<eval::WantedText> out;
  for (size_t i = 0; i < texts.size(); ++i)
    out.push_back(
        {texts[i], std::max<int64_t>(0, std::ssize(texts[i]) - 1 - static_cast<int64_t>(i % 7))});
  return out;
}

using Rows = std::map<std::pair<int64_t, int64_t>, std::vector<float>>;  // by text and position

eval::TakeRows collect(Rows& rows) {
  return [&rows](std::span<const eval::TextRow> given) {
    for (const eval::TextRow& row : given)
      for (const int64_t text : row.texts) {
        const bool is_new =
            rows.try_emplace({text, row.position}, row.logits.begin(), row.logits.end()).second;
        EXPECT_TRUE(is_new) << text << " " << row.position;
        if (rows.contains({text, row.position + 1})) ADD_FAILURE() << "rows go backwards";
      }
  };
}

TEST(TextTree, ComputesWhatTextsHaveInCommonOnce) {
  const auto texts = task_texts();
  const auto wanted = wanted_of(texts);
  const TextTree tree(wanted);
  int64_t all = 0;
  for (const auto& text : texts) all += std::ssize(text);
  EXPECT_LT(tree.tokens_total(), all / 4);
  // Every text is the tokens of one path, and each node's tokens follow its parent's.
  std::vector<int64_t> covered(texts.size(), 0);
  for (const TextTree::Node& node : tree.nodes()) {
    EXPECT_LT(node.begin, node.end);
    for (const int64_t child : node.children)
      EXPECT_EQ(tree.nodes()[static_cast<size_t>(child)].begin, node.end);
    for (int64_t i = node.first; i < node.last; ++i) {
      const auto text = static_cast<size_t>(tree.order()[static_cast<size_t>(i)]);
      covered[text] += node.end - node.begin;
      EXPECT_TRUE(std::equal(tree.tokens(node).begin(), tree.tokens(node).end(),
                             texts[text].begin() + node.begin));
    }
  }
  for (size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(covered[i], std::ssize(texts[i])) << i;
}

TEST(TextTree, ADeepChainNeedsNoDeepStack) {
  std::vector<std::vector<int32_t>> texts;
  for (int64_t n = 1; n <= 2000; ++n)
    texts.push_back(std::vector<int32_t>(static_cast<size_t>(n), 7));
  const auto wanted = wanted_of(texts);
  const TextTree tree(wanted);
  std::vector<int64_t> covered(texts.size(), 0);
  for (const TextTree::Node& node : tree.nodes())
    for (int64_t i = node.first; i < node.last; ++i)
      covered[static_cast<size_t>(tree.order()[static_cast<size_t>(i)])] += node.end - node.begin;
  for (size_t i = 0; i < texts.size(); ++i) ASSERT_EQ(covered[i], std::ssize(texts[i])) << i;
}

class Walk : public ::testing::TestWithParam<KvType> {};
INSTANTIATE_TEST_SUITE_P(Caches, Walk, ::testing::Values(KvType::f32, KvType::f16, KvType::i8),
                         [](const auto& param) { return std::string(kv_type_name(param.param)); });

TEST_P(Walk, RowsAreThoseOfEachTextAloneAtAnyNumberOfSequencesAndThreads) {
  const auto texts = task_texts();
  const auto wanted = wanted_of(texts);
  Bench bench;
  const auto model = bench.load(fixture("models/llama_gqa_untied"), {.kv = GetParam()});
  Rows alone;
  for (size_t i = 0; i < texts.size(); ++i) {
    Session session(model, {}, bench.context);
    const Matrix<float> all = testing::all_logits(session, texts[i]);
    for (int64_t p = wanted[i].first; p < std::ssize(texts[i]); ++p)
      alone[{static_cast<int64_t>(i), p}].assign(all.row(p).begin(), all.row(p).end());
  }
  for (const int64_t threads : {1, 2, 3})
    for (const int64_t sequences : {1, 2, 5, 16}) {
      Bench other(threads);
      Session session(model, {.chunk = 7 + 13 * sequences, .sequences = sequences}, other.context);
      for (int again = 0; again < 2; ++again) {  // what the sequences held before does not matter
        Rows rows;
        TreeWalk(session, wanted).run(collect(rows));
        EXPECT_EQ(rows, alone) << threads << " threads, " << sequences << " sequences";
      }
    }
}

TEST_P(Walk, SharedBlocksOfCacheAreCopiedBeforeTheyChange) {
  Bench bench;
  const auto model = bench.load(fixture("models/llama_gqa_untied"), {.kv = GetParam()});
  // As long as the model allows, so that whole blocks are shared where it allows that much.
  const int64_t most = model->context_length();
  const auto shared = some_ids(most - 8, 3);
  Session session(model, {.sequences = 3}, bench.context);
  const auto feed = [&](int64_t sequence, std::span<const int32_t> ids) {
    std::vector<float> out(static_cast<size_t>(model->vocabulary()));
    while (!ids.empty()) {
      const auto piece = ids.subspan(0, std::min<size_t>(ids.size(), 32));
      const Append part{.sequence = sequence, .ids = piece};
      session.advance({&part, 1});
      const int64_t last = std::ssize(piece) - 1;
      session.logits({&last, 1}, out);
      ids = ids.subspan(piece.size());
    }
    return out;
  };
  feed(0, shared);
  session.fork(0, most - 8, 1);
  session.fork(1, most / 2, 2);
  EXPECT_EQ(session.position(2), most / 2);
  const auto tail = some_ids(8, 4), other = some_ids(8, 5);
  const auto a = feed(0, tail), b = feed(1, tail);
  EXPECT_EQ(a, b);
  // Sequence 1 rewrites its beginning; the others keep theirs.
  session.truncate(1, 1);
  feed(1, other);
  session.truncate(most - 8, 0);
  EXPECT_EQ(feed(0, tail), a);
  const auto rest = std::span<const int32_t>(shared).subspan(static_cast<size_t>(most / 2));
  feed(2, rest);
  EXPECT_EQ(feed(2, tail), a);
}

// More than a block of cache in common: whole blocks are shared by what forks.
TEST_P(Walk, BranchesBehindALongBeginningAreThoseOfEachTextAlone) {
  if (const auto why = tests::without_data("models/stories260k"); !why.empty()) GTEST_SKIP() << why;
  Bench bench;
  const auto model = bench.load(tests::data_path("models/stories260k"), {.kv = GetParam()});
  const auto shots = some_ids(300, 1);
  std::vector<std::vector<int32_t>> texts;
  for (uint64_t question = 0; question < 5; ++question)
    for (uint64_t answer = 0; answer < 3; ++answer)
      texts.push_back(
          joined(joined(shots, some_ids(20 + static_cast<int64_t>(question), 10 + question)),
                 some_ids(9, 50 + answer)));
  const auto wanted = wanted_of(texts);
  RuntimeLogits source(model, {}, bench.context);
  Rows one_by_one;
  source.LogitSource::each_text(wanted, collect(one_by_one));
  for (const int64_t sequences : {1, 4, 16}) {
    Session session(model, {.sequences = sequences}, bench.context);
    Rows rows;
    TreeWalk(session, wanted).run(collect(rows));
    EXPECT_EQ(rows, one_by_one) << sequences << " sequences";
  }
}

TEST(RuntimeLogits, ManyTextsAreTheSameAsOneByOne) {
  const auto texts = task_texts();
  const auto wanted = wanted_of(texts);
  Bench bench;
  RuntimeLogits source(bench.load(fixture("models/llama_mha_tied")), {}, bench.context);
  Rows many, one_by_one, again;
  source.each_text(wanted, collect(many));
  source.LogitSource::each_text(wanted, collect(one_by_one));
  source.each_text(wanted, collect(again));
  EXPECT_EQ(many, one_by_one);
  EXPECT_EQ(many, again);
  source.each_text({}, [](std::span<const eval::TextRow>) { FAIL(); });
}

TEST(RuntimeLogits, ATextThatDoesNotFitIsRefusedBeforeAnyWork) {
  Bench bench;
  const auto model = bench.load(fixture("models/llama_mha_tied"));
  RuntimeLogits source(model, {}, bench.context);
  const auto good = some_ids(5), long_one = some_ids(model->context_length() + 1);
  const std::vector<eval::WantedText> wanted = {{good, 2}, {long_one, 2}};
  EXPECT_THROW(source.each_text(wanted, [](std::span<const eval::TextRow>) { FAIL(); }),
               InputError);
}

}  // namespace
}  // namespace halftone::runtime
