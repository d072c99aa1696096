// Every task of items against lm-eval 0.4.13 with transformers on stories260K: prompts as text,
// log-likelihoods, greedy or not, scores and their standard errors. tests/fixtures/eval says how
// expected.json was made.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/eval/accuracy.h"
#include "halftone/eval/task.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/text/load.h"
#include "tests/support/data.h"

namespace halftone {
namespace {

const std::string kFixture = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/eval";

// A float32 forward pass of 5 layers and a sum of n terms of some nats, here and there in another
// order: 1e-5 for a few tokens. lm-eval sums in float32: n * 2^-24 * |sum| more.
double tolerance(double log_likelihood) { return 1e-4 + 4e-6 * std::abs(log_likelihood); }

class LmEval : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = tests::without_data("models/stories260k"); !why.empty())
      GTEST_SKIP() << why;
    context.env = env.get();
    context.pool = &pool;
    context.log = [this](Level, std::string_view text) { log.emplace_back(text); };
    const std::string folder = tests::data_path("models/stories260k");
    tokenizer.emplace(text::load_tokenizer(context, folder));
    source = std::make_unique<runtime::RuntimeLogits>(
        runtime::Model::load(pack::open_model(folder, context), {}, context),
        runtime::SessionOptions{}, context);
  }

  // lm-eval's name of a task, and its examples.
  eval::TaskResult run(const std::string& name, int64_t shots) {
    samples.clear();
    const auto tasks = eval::entries();
    for (const auto& [task_name, task] : tasks) {
      const bool part = name.starts_with(task_name + "_") && !task.parts.empty();
      if (task_name != name && !part) continue;
      return task.run(
          {.source = *source,
           .encode = {},
           .places = {.data_dir = kFixture + "/data", .hub_cache = "", .parquet = {}},
           .log_sample = [this](const Json& sample) { samples.push_back(sample); },
           .context = context,
           .codec = {.encode = [this](std::string_view s,
                                      bool special) { return tokenizer->encode(s, special); },
                     .prefix = tokenizer->special().bos,
                     .prefix_text = "<s>"},
           .part = part ? name.substr(task_name.size() + 1) : "",
           .shots = shots});
    }
    ADD_FAILURE() << "no task " << name;
    return {};
  }

  const std::unique_ptr<Env> env = posix_env();
  ThreadPool pool{2};
  Context context;
  std::optional<text::Tokenizer> tokenizer;
  std::unique_ptr<runtime::RuntimeLogits> source;
  std::vector<Json> samples;
  std::vector<std::string> log;
};

TEST_F(LmEval, EveryTaskGivesItsPromptsLogLikelihoodsAndScores) {
  const Json expected =
      parse_json(env->read_text(kFixture + "/expected.json", 1 << 22), "expected.json");
  std::set<std::string> tasks;
  double worst = 0;
  for (const Json& recorded : expected["runs"]) {
    tasks.insert(recorded["task"]);
    eval::Pool pooled;
    for (const auto& [name, part] : recorded["parts"].items()) {
      SCOPED_TRACE(name + ", " + recorded["num_fewshot"].dump() + " examples");
      const eval::TaskResult result = run(name, recorded["num_fewshot"]);
      ASSERT_EQ(samples.size(), part["items"].size());
      std::vector<double> acc;
      for (size_t i = 0; i < samples.size(); ++i) {
        SCOPED_TRACE("item " + std::to_string(i));
        const Json &ours = samples[i], &theirs = part["items"][i];
        if (name == "wikitext") {
          const double want = theirs["log_likelihoods"][0];
          EXPECT_NEAR(ours["log_likelihood"].get<double>(), want, tolerance(want));
          continue;
        }
        ASSERT_EQ(ours["arguments"].size(), theirs["arguments"].size());
        for (size_t c = 0; c < theirs["arguments"].size(); ++c) {
          const Json& given = ours["arguments"]["gen_args_" + std::to_string(c)];
          EXPECT_EQ(given["arg_0"], theirs["arguments"][c][0]);
          EXPECT_EQ(given["arg_1"], theirs["arguments"][c][1]);
          const double want = theirs["log_likelihoods"][c],
                       got = std::stod(ours["filtered_resps"][c][0].get<std::string>());
          EXPECT_NEAR(got, want, tolerance(want)) << "choice " << c;
          worst = std::max(worst, std::abs(got - want) / tolerance(want));
          EXPECT_EQ(ours["filtered_resps"][c][1],
                    theirs["greedy"][c].get<bool>() ? "True" : "False");
        }
        for (const char* metric : {"acc", "acc_norm"})
          if (theirs.contains(metric)) {
            EXPECT_EQ(ours[metric].get<double>(), theirs[metric].get<double>()) << metric;
          }
        acc.push_back(ours["acc"]);
      }
      pooled.add(acc);
      for (const auto& [metric, value] : part["results"].items()) {
        if (!result.json.contains(metric)) continue;  // sample_len
        const double want = value;
        EXPECT_NEAR(result.json[metric].get<double>(), want,
                    metric.starts_with("acc") ? 1e-12 : 1e-5 * std::abs(want))
            << metric;
      }
      EXPECT_EQ(result.json["protocol"].get<std::string>().substr(0, 11), "lm-eval-0.4");
    }
    if (recorded.contains("results")) {
      EXPECT_NEAR(pooled.value().value, recorded["results"]["acc"].get<double>(), 1e-12);
      EXPECT_NEAR(*pooled.value().standard_error, recorded["results"]["acc_stderr"].get<double>(),
                  1e-12);
    }
  }
  std::cout << "largest difference: " << worst << " of the tolerance\n";
  for (const auto& [name, task] : eval::entries())
    EXPECT_EQ(task.of_items, tasks.contains(name)) << name << " has no recorded answer";
}

TEST_F(LmEval, TooLongATextLosesItsBeginningAndIsCounted) {
  const eval::TaskResult result = run("piqa", 0);
  EXPECT_EQ(result.json["truncated"], 2);
  EXPECT_EQ(result.json["skipped"], 0);
  EXPECT_THAT(result.basis, testing::HasSubstr(", 2 texts truncated"));
  EXPECT_THAT(log,
              testing::Contains(
                  "piqa: 2 of 14 texts are longer than the model's context of 512 tokens: they "
                  "lost their beginning, as in lm-eval"));
}

}  // namespace
}  // namespace halftone
