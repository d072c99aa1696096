// What no family uses yet, but the ops can say: both engines must mean the same by it.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "halftone/base/env.h"
#include "halftone/base/threads.h"
#include "halftone/graph/logit_source.h"
#include "halftone/pack/test_wrapped.h"
#include "halftone/runtime/logit_source.h"

namespace halftone {
namespace {

// A model with its spec changed; tensors and linears stay.
class Edited final : public pack::testing::Wrapped {
 public:
  Edited(std::shared_ptr<const pack::PackedModel> model,
         const std::function<void(spec::Op&)>& change)
      : Wrapped(std::move(model)), checkpoint_(Wrapped::checkpoint()) {
    auto& spec = checkpoint_.spec;
    for (spec::Segment* segment : spec::segments(spec))
      for (spec::Op& op : segment->ops) change(op);
    spec::validate(spec, checkpoint_.path);
  }
  const spec::Checkpoint& checkpoint() const override { return checkpoint_; }

 private:
  spec::Checkpoint checkpoint_;
};

std::vector<float> logits_of(eval::LogitSource& source, std::span<const int32_t> ids) {
  std::vector<float> out;
  source.each_row(ids, 0, [&](int64_t, std::span<const float> row) {
    out.insert(out.end(), row.begin(), row.end());
  });
  return out;
}

class Engines : public ::testing::TestWithParam<std::string> {};

TEST_P(Engines, NormaliseSlicesWithTheirOwnWeightsAlike) {
  const auto env = posix_env();
  ThreadPool pool(2);
  Context context;
  context.env = env.get();
  context.pool = &pool;
  const std::string folder =
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/" + GetParam();
  const auto whole = pack::open_model(folder, context);
  const auto halves = std::make_shared<Edited>(whole, [](spec::Op& op) {
    if (auto* norm = std::get_if<spec::Norm>(&op.params)) norm->width /= 2;
  });
  const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
  runtime::RuntimeLogits real(runtime::Model::load(halves, {}, context), {}, context);
  const auto torch = graph::graph_logits(*halves, context);
  const std::vector<float> a = logits_of(real, ids), b = logits_of(*torch, ids);
  ASSERT_EQ(a.size(), b.size());
  double worst = 0, moved = 0;
  runtime::RuntimeLogits plain(runtime::Model::load(whole, {}, context), {}, context);
  const std::vector<float> before = logits_of(plain, ids);
  for (size_t i = 0; i < a.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    moved = std::max(moved, std::abs(static_cast<double>(a[i]) - static_cast<double>(before[i])));
  }
  EXPECT_LE(worst, 1e-4);  // as between each engine and transformers
  EXPECT_GT(moved, 1e-2);  // the edit is not nothing
}

INSTANTIATE_TEST_SUITE_P(Fixtures, Engines, ::testing::Values("llama_mha_tied", "gpt2_tiny"),
                         [](const auto& test) { return test.param; });

TEST(ModelSpec, RefusesANormWhoseWeightFitsNeitherSliceNorValue) {
  const auto env = posix_env();
  Context context;
  context.env = env.get();
  const auto model = pack::open_model(
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/llama_mha_tied", context);
  try {
    const Edited edited(model, [](spec::Op& op) {
      if (auto* norm = std::get_if<spec::Norm>(&op.params)) norm->weight->shape = {3};
    });
    FAIL();
  } catch (const FileError& e) {
    EXPECT_NE(
        e.line().find("model.layers.0.input_layernorm: weighs slices of 32 of a value 32 wide "
                      "with \"model.layers.0.input_layernorm.weight\" [3]"),
        std::string::npos)
        << e.line();
  }
}

}  // namespace
}  // namespace halftone
