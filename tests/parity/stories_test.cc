// Text in, perplexity out, through tokenizer and runtime: stories260K against a float64 numpy run
// of the same weights.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "halftone/base/threads.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/text/load.h"
#include "tests/support/data.h"

namespace halftone {
namespace {

TEST(Stories, PerplexityOfFiftyStoriesEqualsTheReference) {
  const auto env = posix_env();
  if (const auto why = tests::without_data("models/stories260k"); !why.empty()) GTEST_SKIP() << why;
  const std::string folder = tests::data_path("models/stories260k");
  ThreadPool pool(2);
  Context context;
  context.env = env.get();
  context.pool = &pool;
  const Json reference = parse_json(env->read_text(folder + "/reference.json", 1 << 20),
                                    "reference.json")["tinystories"];
  const std::string file =
      env->read_text(tests::data_path(reference["file"].get<std::string>()), 1 << 24);
  const text::Tokenizer tokenizer = text::load_tokenizer(context, folder);
  runtime::RuntimeLogits source(
      runtime::Model::load(pack::open_model(folder, context), {}, context), {}, context);

  double sum = 0;
  int64_t tokens = 0;
  size_t stories = 0;
  for (const std::string& story :
       tests::stories(file, reference["first_n_stories"].get<size_t>())) {
    std::vector<int32_t> ids = tokenizer.encode(story);
    ids.resize(std::min<size_t>(ids.size(), 512));
    double nll = 0;
    source.each_row(
        std::span(ids).first(ids.size() - 1), 0, [&](int64_t t, std::span<const float> row) {
          double top = row[0], total = 0;
          for (const float v : row) top = std::max(top, static_cast<double>(v));
          for (const float v : row) total += std::exp(static_cast<double>(v) - top);
          nll += top + std::log(total) -
                 static_cast<double>(row[static_cast<size_t>(ids[static_cast<size_t>(t + 1)])]);
        });
    const auto& recorded = reference["per_story_tokens_and_mean_nll"][stories];
    const auto predicted = static_cast<int64_t>(ids.size()) - 1;
    ASSERT_EQ(static_cast<int64_t>(ids.size()), recorded[0].get<int64_t>()) << "story " << stories;
    EXPECT_NEAR(nll / static_cast<double>(predicted), recorded[1].get<double>(), 2e-6)
        << "story " << stories;  // six digits are recorded
    sum += nll;
    tokens += predicted;
    ++stories;
  }
  EXPECT_EQ(tokens, reference["predicted_tokens"].get<int64_t>());
  const double perplexity = std::exp(sum / static_cast<double>(tokens)),
               wanted = reference["perplexity"].get<double>();
  EXPECT_NEAR(perplexity, wanted,
              1e-5 * wanted);  // a thousandth is asked for; float32 sums do far better
}

}  // namespace
}  // namespace halftone
