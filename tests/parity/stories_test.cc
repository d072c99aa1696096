// Text in, perplexity out, through tokenizer and runtime: stories260K against a float64 numpy run
// of the same weights.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "halftone/base/threads.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/text/load.h"

namespace halftone {
namespace {

std::string data_folder() {
  const char* set = std::getenv("HALFTONE_DATA");
  return set != nullptr && *set != 0 ? set : std::string(HALFTONE_SOURCE_DIR) + "/../shared/data";
}

std::string_view stripped(std::string_view text) {
  while (!text.empty() && text.front() == '\n') text.remove_prefix(1);
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return text;
}

TEST(Stories, PerplexityOfFiftyStoriesEqualsTheReference) {
  const auto env = posix_env();
  const std::string folder = data_folder() + "/models/stories260k";
  if (!env->stat(folder + "/reference.json"))
    GTEST_SKIP() << "no " << folder << " (set HALFTONE_DATA)";
  ThreadPool pool(2);
  Context context;
  context.env = env.get();
  context.pool = &pool;
  const Json reference = parse_json(env->read_text(folder + "/reference.json", 1 << 20),
                                    "reference.json")["tinystories"];
  const std::string all =
      env->read_text(data_folder() + "/" + reference["file"].get<std::string>(), 1 << 24);
  const text::Tokenizer tokenizer = text::load_tokenizer(context, folder);
  runtime::RuntimeLogits source(
      runtime::Model::load(pack::open_model(folder, context), {}, context), {}, context);

  double sum = 0;
  int64_t tokens = 0, stories = 0;
  const std::string separator = "<|endoftext|>";
  for (size_t begin = 0;
       begin <= all.size() && stories < reference["first_n_stories"].get<int64_t>();) {
    const size_t end = std::min(all.find(separator, begin), all.size());
    const std::string_view story = stripped(std::string_view(all).substr(begin, end - begin));
    begin = end + separator.size();
    if (story.empty()) continue;
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
    const auto& recorded = reference["per_story_tokens_and_mean_nll"][static_cast<size_t>(stories)];
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
