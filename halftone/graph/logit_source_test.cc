#include "halftone/graph/logit_source.h"

#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/graph/torch.h"

namespace halftone::graph {
namespace {

struct TestContext : Context {
  std::unique_ptr<Env> posix = posix_env();
  TestContext() { env = posix.get(); }
};

spec::Checkpoint fixture(const std::string& name, const Context& context) {
  return spec::open_checkpoint(std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/" + name,
                               context);
}

// A model whose linears in blocks are nearest-rounded, in memory.
class RoundedModel final : public pack::PackedModel {
 public:
  RoundedModel(spec::Checkpoint checkpoint, const format::Format& format)
      : checkpoint_(std::move(checkpoint)), format_(format) {
    checkpoint_.name = "tiny-int4";
    for (const spec::LinearRef& ref : spec::linears(checkpoint_.spec))
      if (ref.segment >= 0 && ref.segment < static_cast<int64_t>(checkpoint_.spec.blocks.size()))
        plan_.ports[{ref.op->name, format::Port::weight}] = format;
  }
  const spec::Checkpoint& checkpoint() const override { return checkpoint_; }
  const format::Plan& plan() const override { return plan_; }
  pack::DecoratedLinear linear(const spec::Op& op) const override {
    const auto& linear = std::get<spec::Linear>(op.params);
    Parameters p;
    p.load(*checkpoint_.tensors, linear.weight);
    pack::DecoratedLinear result;
    result.name = op.name;
    result.out = linear.out;
    result.in = linear.in;
    Matrix<float> w = p.weight(linear);
    if (op.name.ends_with("down_proj")) {  // a scale that could not be folded
      for (int64_t k = 0; k < w.cols; ++k) result.input_scale.push_back(k % 2 ? 0.5f : 2.0f);
      for (int64_t n = 0; n < w.rows; ++n)
        for (int64_t k = 0; k < w.cols; ++k)
          w.at(n, k) /= result.input_scale[static_cast<size_t>(k)];
    }
    if (linear.bias) {
      const HostTensor bias = to_f32(checkpoint_.tensors->read(linear.bias->name));
      result.bias.assign(bias.as<float>().begin(), bias.as<float>().end());
    }
    result.weight = format::quantize_nearest(w, format_);
    return result;
  }
  HostTensor tensor(const spec::TensorRef& ref) const override {
    EXPECT_FALSE(ref.name.ends_with("_proj.weight"))
        << ref.name << " is quantized and must not be asked for densely";
    return checkpoint_.tensors->read(ref.name);
  }
  uint64_t weight_bytes() const override { return 0; }
  double bits_per_weight() const override { return 0; }

 private:
  spec::Checkpoint checkpoint_;
  format::Format format_;
  format::Plan plan_;
};

std::vector<float> all_logits(eval::LogitSource& source, const std::vector<int32_t>& ids,
                              int64_t first = 0) {
  std::vector<float> all;
  int64_t expected = first;
  source.each_row(ids, first, [&](int64_t position, std::span<const float> row) {
    EXPECT_EQ(position, expected++);
    all.insert(all.end(), row.begin(), row.end());
  });
  return all;
}

const std::vector<int32_t> kIds = {5, 17, 90, 3, 3, 44, 8};

TEST(GraphLogits, AreThoseOfTheForwardPassInWhateverChunksTheyArePulled) {
  const TestContext context;
  const spec::Checkpoint checkpoint = fixture("llama_gqa_untied", context);
  auto graph =
      std::make_shared<Graph>(checkpoint.spec, TensorOptions{.device = "cpu", .dtype = DType::f64});
  graph->load(*checkpoint.tensors);
  const at::NoGradGuard no_grad;
  const Matrix<float> want = to_matrix(graph->forward({.ids = ids_tensor(kIds)}).logits[0]);
  const auto source = graph_logits("tiny", graph, context);
  EXPECT_EQ(source->label(), "tiny (torch, f64)");
  EXPECT_EQ(source->vocabulary(), 96);
  EXPECT_EQ(source->context(), 128);
  // In f64 the same sums in other shapes differ by 1e-15, which f32 hides.
  const auto got = all_logits(*source, kIds);
  ASSERT_EQ(got.size(), want.data.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_FLOAT_EQ(got[i], want.data[i]);
  const auto tail = all_logits(*source, kIds, 4);
  EXPECT_EQ(tail, std::vector<float>(got.begin() + 4 * 96, got.end()));

  std::vector<float> rows(2 * 96), pulled;
  source->begin(kIds, 0);
  for (const int64_t wanted : {2, 2, 2, 1, 0}) {
    const int64_t n = source->next(rows);
    EXPECT_EQ(n, wanted);
    pulled.insert(pulled.end(), rows.begin(), rows.begin() + n * 96);
  }
  ASSERT_EQ(pulled.size(), want.data.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_FLOAT_EQ(pulled[i], want.data[i]);
}

TEST(GraphLogits, HaveTheSameBytesAtAnyThreadCount) {
  TestContext context;
  for (const std::string name : {"llama_gqa_untied", "mistral_window", "gpt2_tiny"}) {
    const spec::Checkpoint checkpoint = fixture(name, context);
    auto graph = std::make_shared<Graph>(checkpoint.spec);
    graph->load(*checkpoint.tensors);
    std::vector<int32_t> ids;  // long enough that every op is cut into several parts
    for (int32_t t = 0; t < 40; ++t) ids.push_back(t * 37 % 96);
    std::vector<float> one;
    for (const int64_t threads : {1, 2, 3, 5}) {
      ThreadPool pool(threads);
      context.pool = &pool;
      const auto source = graph_logits(name, graph, context);
      const auto got = all_logits(*source, ids);
      if (threads == 1) one = got;
      EXPECT_TRUE(got == one) << name << " with " << threads << " threads";
    }
    // Without a pool nothing is cut, and f32 sums may be taken in another order.
    context.pool = nullptr;
    const auto source = graph_logits(name, graph, context);
    const auto whole = all_logits(*source, ids);
    for (size_t i = 0; i < whole.size(); ++i) EXPECT_NEAR(whole[i], one[i], 3e-5);
  }
}

TEST(GraphLogits, RefuseWhatTheModelCannotDo) {
  const TestContext context;
  const spec::Checkpoint bert = fixture("bert_tiny", context),
                         llama = fixture("llama_gqa_untied", context);
  EXPECT_THROW(graph_logits("bert", std::make_shared<Graph>(bert.spec), context), UnsupportedError);
  auto graph = std::make_shared<Graph>(llama.spec);
  graph->load(*llama.tensors);
  const auto source = graph_logits("tiny", graph, context);
  EXPECT_THROW(source->begin(std::vector<int32_t>(129, 1), 0), InputError);
  EXPECT_THROW(source->begin(std::vector<int32_t>{1, 96}, 0), InputError);
  source->begin({}, 0);
  std::vector<float> rows(96);
  EXPECT_EQ(source->next(rows), 0);
}

// Simulated quantization is: the model with every quantized weight replaced by its dequantized
// value.
class Simulated : public ::testing::TestWithParam<const char*> {};

TEST_P(Simulated, EqualsTheModelWithItsEffectiveWeights) {
  const TestContext context;
  const RoundedModel model(fixture(GetParam(), context), {.bits = 4, .group = 8});
  const auto simulated = graph_logits(model, context, {.dtype = DType::f64});
  EXPECT_EQ(simulated->label(), "tiny-int4 (torch, simulated)");

  auto plain = std::make_shared<Graph>(model.checkpoint().spec, TensorOptions{.dtype = DType::f64});
  plain->load(*model.checkpoint().tensors);
  const auto original = graph_logits("tiny", plain, context);
  const auto before = all_logits(*original, kIds);
  for (const spec::LinearRef& ref : spec::linears(model.checkpoint().spec))
    if (model.plan().find(ref.op->name, format::Port::weight) != nullptr)
      plain->parameters().set_weight(ref.linear(), pack::effective_weight(model.linear(*ref.op)));
  const auto want = all_logits(*original, kIds), got = all_logits(*simulated, kIds);
  ASSERT_EQ(got.size(), want.size());
  double moved = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    // The input scale is a power of two, so both ways are exact but for the order of f64 sums.
    EXPECT_NEAR(got[i], want[i], 1e-6);
    moved = std::max(moved, std::fabs(static_cast<double>(got[i] - before[i])));
  }
  EXPECT_GT(moved, 0.01) << "rounding to 4 bits must change something";
}
INSTANTIATE_TEST_SUITE_P(Fixtures, Simulated,
                         ::testing::Values("llama_gqa_untied", "llama_biases", "gpt2_tiny"));

}  // namespace
}  // namespace halftone::graph
