// Against a recorded outside reference: the tiny random models of tests/fixtures/models
// (transformers, float64).
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "halftone/base/env.h"
#include "halftone/files/safetensors.h"
#include "halftone/graph/graph.h"
#include "halftone/graph/torch.h"
#include "halftone/spec/checkpoint.h"
#include "tests/support/recorded_models.h"

namespace halftone::graph {
namespace {

struct TestContext : Context {
  std::unique_ptr<Env> posix = posix_env();
  TestContext() { env = posix.get(); }
};

double largest(const at::Tensor& x) { return x.abs().max().item<double>(); }
double difference(const at::Tensor& a, const at::Tensor& b) {
  return largest(a.detach().to(c10::kDouble) - b.to(c10::kDouble));
}

struct Case {
  std::string name;
  DType dtype;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name << " " << dtype_name(c.dtype); }

// u = 2^-24. In f64 we are off by the reference's own rounding to f32, u |x|, and 1e-11 for
// hundreds of f64 operations. With rotary positions the spec's frequencies are those of published
// models, computed in f32 (2u relative): angles of up to 23 x 0.24 are off by 7e-7 at most, and so
// are outputs of size 1. In f32 the fixture's README derives 3e-5 for outputs (of size 6) and 1e-5
// x max(1, largest |grad|).
class TinyModel : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    folder_ = join_path(tests::models_folder(), GetParam().name);
    loaded_ = spec::open_checkpoint(folder_, context_);
    reference_ = files::open_safetensors(join_path(folder_, "reference.safetensors"), context_);
    graph_ = std::make_unique<Graph>(loaded_.spec,
                                     TensorOptions{.device = "cpu", .dtype = GetParam().dtype});
    graph_->load(*loaded_.tensors);
    batch_.ids = recorded("input_ids").to(c10::kLong);
    if (reference_->find("attention_mask") != nullptr)
      batch_.attention_mask = recorded("attention_mask");
    if (reference_->find("token_type_ids") != nullptr)
      batch_.token_types = recorded("token_type_ids").to(c10::kLong);
  }

  at::Tensor recorded(const std::string& name) const { return to_torch(reference_->read(name)); }
  bool exact() const { return GetParam().dtype == DType::f64; }
  bool language_model() const {
    return loaded_.spec.output == spec::ModelSpec::Output::language_model;
  }

  double exact_tolerance(const at::Tensor& want) const {
    return 0x1p-24 * largest(want) + (rotary() ? 7e-7 * std::max(1.0, largest(want)) : 1e-11);
  }
  double output_tolerance(const at::Tensor& want) const {
    return exact() ? exact_tolerance(want) : 3e-5;
  }
  bool rotary() const {
    const auto& ops = loaded_.spec.blocks[0].ops;
    return std::any_of(ops.begin(), ops.end(), [](const spec::Op& op) {
      const auto* attention = std::get_if<spec::Attention>(&op.params);
      return attention != nullptr && attention->rope.has_value();
    });
  }

  // Outputs, the hidden states that transformers lists, and the loss as the fixture defines it.
  at::Tensor check_outputs_and_get_loss() {
    const std::string last_norm =
        loaded_.spec.epilogue.ops.empty() ? "" : loaded_.spec.epilogue.ops.front().name;
    std::map<CaptureKey, std::string> names = {
        {{CaptureKind::hidden, ""}, "hidden.0"},
        {{CaptureKind::hidden, loaded_.spec.blocks[0].name}, "hidden.1"}};
    names[language_model() ? CaptureKey{CaptureKind::op_output, last_norm}
                           : CaptureKey{CaptureKind::hidden, loaded_.spec.blocks[1].name}] =
        "hidden.2";
    Capture capture;
    std::map<std::string, at::Tensor> seen;
    for (const auto& [key, name] : names) capture.wanted.insert(key);
    capture.sink = [&](const CaptureKey& key, const at::Tensor& x) { seen[names.at(key)] = x; };
    const Output out = graph_->forward(batch_, &capture);
    EXPECT_EQ(seen.size(), 3u);
    if (language_model()) {
      seen["logits"] = out.logits;
    } else {
      seen["last_hidden_state"] = out.hidden;
      seen["pooler_output"] = out.pooled;
    }
    // Padded positions have no meaning; transformers computes something there, and so do we.
    const at::Tensor real =
        batch_.attention_mask.defined() ? batch_.attention_mask.ne(0) : at::Tensor();
    for (const auto& [name, got] : seen) {
      at::Tensor want = recorded(name);
      EXPECT_EQ(got.sizes(), want.sizes()) << name;
      const double tolerance = output_tolerance(want);
      at::Tensor gap = (got.detach().to(c10::kDouble) - want.to(c10::kDouble)).abs();
      if (real.defined() && gap.dim() == 3) gap = gap * real.unsqueeze(-1);
      EXPECT_LE(gap.max().item<double>(), tolerance) << name;
    }
    if (!language_model())
      return (out.pooled * recorded("pooler_cotangent")).sum() +
             (out.hidden * recorded("hidden_cotangent")).sum();
    const int64_t T = batch_.ids.size(1);
    const at::Tensor log_p = at::log_softmax(out.logits.slice(1, 0, T - 1), -1);
    return -log_p.gather(2, batch_.ids.slice(1, 1).unsqueeze(-1)).mean();
  }

  TestContext context_;
  std::string folder_;
  spec::Checkpoint loaded_;
  std::shared_ptr<const files::SafetensorsSource> reference_;
  std::unique_ptr<Graph> graph_;
  Batch batch_;
};

TEST_P(TinyModel, OutputsLossAndEveryGradientEqualTransformers) {
  graph_->parameters().set_requires_grad(true);
  const at::Tensor loss = check_outputs_and_get_loss();
  const double want_loss = recorded("loss").item<double>();
  // The loss of an encoder is a sum of some 800 terms of size 10; that of a language model a mean.
  EXPECT_NEAR(loss.item<double>(), want_loss, exact() ? 1e-6 : language_model() ? 1e-5 : 1e-3);
  loss.backward();

  double largest_gradient = 1;
  std::set<std::string> recorded_names, ours;
  for (const files::TensorInfo& info : reference_->tensors())
    if (info.name.starts_with("grad.")) {
      recorded_names.insert(info.name.substr(5));
      largest_gradient = std::max(largest_gradient, largest(recorded(info.name)));
    }
  for (const auto& [name, tensor] : graph_->parameters().tensors()) ours.insert(name);
  // Same parameters under the same names, a tied matrix once.
  EXPECT_EQ(ours, recorded_names);
  for (const auto& [name, tensor] : graph_->parameters().tensors()) {
    ASSERT_TRUE(tensor.grad().defined()) << name;
    const at::Tensor want = recorded("grad." + name);
    const double tolerance = exact() ? exact_tolerance(want) : 1e-5 * largest_gradient;
    ASSERT_EQ(tensor.grad().sizes(), want.sizes()) << name;
    // transformers never trains BERT's padding row (padding_idx); the function does depend on it.
    if (name == "embeddings.word_embeddings.weight") {
      EXPECT_EQ(largest(want[0]), 0);
      tensor.grad()[0].zero_();
    }
    EXPECT_LE(difference(tensor.grad(), want), tolerance) << name;
  }
}

// The path without gradient computes attention in tiles.
TEST_P(TinyModel, OutputsWithoutGradientEqualTransformers) {
  const at::NoGradGuard no_grad;
  check_outputs_and_get_loss();
}

std::vector<Case> cases() {
  std::vector<Case> list;
  for (const std::string& name : tests::recorded_models())
    for (const DType dtype : {DType::f32, DType::f64}) list.push_back({name, dtype});
  return list;
}
INSTANTIATE_TEST_SUITE_P(Fixtures, TinyModel, ::testing::ValuesIn(cases()), [](const auto& test) {
  return test.param.name + "_" + std::string(dtype_name(test.param.dtype));
});

}  // namespace
}  // namespace halftone::graph
