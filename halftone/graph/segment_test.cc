#include "halftone/graph/segment.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <map>

#include "halftone/base/rng.h"
#include "halftone/graph/graph.h"
#include "halftone/graph/torch.h"

namespace halftone::graph {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const TensorOptions kExact{.device = "cpu", .dtype = DType::f64};

HostTensor host(const Shape& shape, const std::vector<float>& values) {
  HostTensor t(DType::f32, shape);
  std::copy(values.begin(), values.end(), t.as<float>().begin());
  return t;
}

HostTensor random_host(const Shape& shape, uint64_t seed) {
  HostTensor t(DType::f32, shape);
  const CounterRng rng(seed);
  for (int64_t i = 0; i < t.count(); ++i)
    t.as<float>()[static_cast<size_t>(i)] =
        static_cast<float>(rng.normal(static_cast<uint64_t>(i)));
  return t;
}

spec::Op linear_op(const std::string& name, int32_t in, int32_t out, int64_t k, int64_t n) {
  return {name, {{in}}, out, spec::Linear{.weight = {name + ".weight", {n, k}}, .in = k, .out = n}};
}

at::Tensor run_op(const spec::OpParams& params, const at::Tensor& x, const Parameters& parameters,
                  const Sequence& sequence) {
  spec::Segment segment{"s", {{"op", {{0}}, 1, params}}};
  return run_segment(segment, parameters, x, sequence);
}

std::vector<double> values_of(const at::Tensor& t) {
  const at::Tensor plain = t.to(c10::kDouble).contiguous();
  return {plain.data_ptr<double>(), plain.data_ptr<double>() + plain.numel()};
}

TEST(Norm, NormalisesSlicesWithSharedAndOwnWeights) {
  Parameters p(kExact);
  p.set({"w", {2}}, host({2}, {1, 2}));
  p.set({"wide", {4}}, host({4}, {1, 2, 3, 4}));
  const at::Tensor x = at::tensor({3.0, 4.0, 6.0, 8.0}, c10::kDouble).view({1, 1, 4});
  const Sequence sequence(1, 1);
  // rms of (3, 4) is sqrt(12.5), of (6, 8) twice that: both slices become the same.
  const double a = 3 / std::sqrt(12.5), b = 4 / std::sqrt(12.5);
  spec::Norm norm{.width = 2, .eps = 0, .weight = spec::TensorRef{"w", {2}}};
  EXPECT_THAT(values_of(run_op(norm, x, p, sequence)),
              ::testing::Pointwise(::testing::DoubleNear(1e-12), {a, 2 * b, a, 2 * b}));
  norm.weight = spec::TensorRef{"wide", {4}};
  EXPECT_THAT(values_of(run_op(norm, x, p, sequence)),
              ::testing::Pointwise(::testing::DoubleNear(1e-12), {a, 2 * b, 3 * a, 4 * b}));
  norm.weight_offset = 1;
  EXPECT_THAT(values_of(run_op(norm, x, p, sequence)),
              ::testing::Pointwise(::testing::DoubleNear(1e-12), {2 * a, 3 * b, 4 * a, 5 * b}));
}

TEST(Norm, LayerKindSubtractsTheMeanOfEachSlice) {
  Parameters p(kExact);
  p.set({"w", {4}}, host({4}, {1, 2, 3, 4}));
  p.set({"b", {4}}, host({4}, {0, 0, 5, 5}));
  const at::Tensor x = at::tensor({1.0, 3.0, 10.0, 20.0}, c10::kDouble).view({1, 1, 4});
  const spec::Norm norm{.kind = spec::Norm::Kind::layer,
                        .width = 2,
                        .eps = 0,
                        .weight = spec::TensorRef{"w", {4}},
                        .bias = spec::TensorRef{"b", {4}}};
  EXPECT_THAT(values_of(run_op(norm, x, p, Sequence(1, 1))),
              ::testing::Pointwise(::testing::DoubleNear(1e-12), {-1.0, 2.0, 2.0, 9.0}));
}

TEST(Pool, SeesOnlyRealTokens) {
  const Parameters p(kExact);
  Batch batch;
  batch.ids = at::zeros({2, 3}, c10::kLong);
  batch.attention_mask = at::tensor({1, 1, 0, 0, 1, 1}, c10::kLong).view({2, 3});
  const at::Tensor x = at::tensor({1.0, 3.0, 100.0, 200.0, 5.0, 7.0}, c10::kDouble).view({2, 3, 1});
  const auto pooled = [&](spec::Pool::Kind kind, const Sequence& s) {
    return values_of(run_op(spec::Pool{kind}, x, p, s));
  };
  EXPECT_THAT(pooled(spec::Pool::Kind::last, Sequence(batch)), ElementsAre(3, 7));
  EXPECT_THAT(pooled(spec::Pool::Kind::mean, Sequence(batch)), ElementsAre(2, 6));
  EXPECT_THAT(pooled(spec::Pool::Kind::first, Sequence(batch)), ElementsAre(1, 200));
  EXPECT_THAT(pooled(spec::Pool::Kind::last, Sequence(2, 3)), ElementsAre(100, 7));
}

TEST(Attention, ReadsHeadsThatAreInterleavedWithTheOthers) {
  // GPT-NeoX: one value holds q0 k0 v0 q1 k1 v1, each 2 wide.
  const int64_t T = 5, D = 2, H = 2;
  Parameters p(kExact);
  p.set({"x", {T, 3 * H * D}}, random_host({T, 3 * H * D}, 7));
  const at::Tensor fused = p.at("x").unsqueeze(0);
  const spec::Attention attention{.heads = H, .kv_heads = H, .head_dim = D, .scale = 0.7};
  const Sequence sequence(1, T);
  spec::Segment segment{
      "s",
      {{"attention", {{0, 0, 0, 3 * D}, {0, D, 0, 3 * D}, {0, 2 * D, 0, 3 * D}}, 1, attention}}};
  const at::Tensor got = run_segment(segment, p, fused, sequence);
  // The same heads laid side by side, read by offsets.
  const at::Tensor grouped = fused.view({1, T, H, 3, D}).transpose(2, 3).reshape({1, T, 3 * H * D});
  spec::Segment side_by_side{
      "s",
      {{"attention", {{0, 0, H * D}, {0, H * D, H * D}, {0, 2 * H * D, H * D}}, 1, attention}}};
  EXPECT_TRUE(got.equal(run_segment(side_by_side, p, grouped, sequence)));
}

class TwoLinears : public ::testing::Test {
 protected:
  TwoLinears() {
    segment_.name = "block";
    segment_.ops = {linear_op("first", 0, 1, 3, 4),
                    {"act", {{1}}, 2, spec::Activation{spec::Activation::Kind::relu}},
                    linear_op("second", 2, 3, 4, 2)};
    first_ = std::get<spec::Linear>(segment_.ops[0].params);
    second_ = std::get<spec::Linear>(segment_.ops[2].params);
    parameters_.set({"x", {5, 3}}, random_host({5, 3}, 1));
    x_ = parameters_.at("x").unsqueeze(0);
  }
  spec::Segment segment_;
  spec::Linear first_, second_;
  Parameters parameters_{kExact};
  at::Tensor x_;
  const Sequence sequence_{1, 5};
};

TEST_F(TwoLinears, CapturesWhatIsDeclaredAndNothingElse) {
  parameters_.set(first_.weight, random_host({4, 3}, 2));
  parameters_.set(second_.weight, random_host({2, 4}, 3));
  std::map<CaptureKey, at::Tensor> seen;
  const Capture capture{
      .wanted = {{CaptureKind::linear_input, "second"}, {CaptureKind::op_output, "second"}},
      .sink = [&](const CaptureKey& key, const at::Tensor& t) { seen[key] = t; }};
  const at::Tensor y = run_segment(segment_, parameters_, x_, sequence_, &capture);
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_TRUE(seen.at({CaptureKind::op_output, "second"}).equal(y));
  EXPECT_TRUE(seen.at({CaptureKind::linear_input, "second"})
                  .matmul(parameters_.at("second.weight").t())
                  .equal(y));
}

TEST_F(TwoLinears, RunsNoMoreThanACaptureNeeds) {
  // No weights at all: the input of the first linear is there without computing anything.
  int seen = 0;
  Capture capture{.wanted = {{CaptureKind::linear_input, "first"}},
                  .sink = [&](const CaptureKey&, const at::Tensor& t) {
                    ++seen;
                    EXPECT_TRUE(t.equal(x_));
                  }};
  run_for_capture(segment_, parameters_, x_, sequence_, capture);
  EXPECT_EQ(seen, 1);
  // The first linear's weight suffices for the input of the second.
  parameters_.set(first_.weight, random_host({4, 3}, 2));
  capture.wanted = {{CaptureKind::linear_input, "second"}};
  capture.sink = [&](const CaptureKey&, const at::Tensor& t) {
    ++seen;
    EXPECT_EQ(t.size(-1), 4);
  };
  run_for_capture(segment_, parameters_, x_, sequence_, capture);
  EXPECT_EQ(seen, 2);
}

TEST_F(TwoLinears, GoesOnFromWhereACaptureStopped) {
  parameters_.set(first_.weight, random_host({4, 3}, 2));
  Capture capture{.wanted = {{CaptureKind::linear_input, "second"}},
                  .sink = [](const CaptureKey&, const at::Tensor&) {}};
  const Suspended stopped = run_for_capture(segment_, parameters_, x_, sequence_, capture);
  EXPECT_TRUE(stopped.has_done(segment_, "first"));
  EXPECT_FALSE(stopped.has_done(segment_, "second"));
  EXPECT_EQ(stopped.bytes(), x_.numel() / 3 * 4 * static_cast<int64_t>(x_.element_size()));
  parameters_.set(second_.weight, random_host({2, 4}, 3));
  const at::Tensor want = run_segment(segment_, parameters_, x_, sequence_);
  parameters_.set(first_.weight, random_host({4, 3}, 9));  // read no more
  EXPECT_TRUE(resume_segment(segment_, parameters_, x_, sequence_, stopped).equal(want));
}

TEST_F(TwoLinears, WeightsGoInAndOutAsOutByInWhateverTheFileHolds) {
  spec::Linear turned = first_;
  turned.weight = {"turned.weight", {3, 4}, true};
  segment_.ops = {{"turned", {{0}}, 1, turned}};
  parameters_.set(turned.weight, random_host({3, 4}, 4));
  const Matrix<float> w = parameters_.weight(turned);
  EXPECT_EQ(w.rows, 4);
  EXPECT_EQ(w.at(3, 0), static_cast<float>(parameters_.at("turned.weight")[0][3].item<double>()));
  const at::Tensor before = run_segment(segment_, parameters_, x_, sequence_);
  parameters_.set_weight(turned, w);
  EXPECT_TRUE(run_segment(segment_, parameters_, x_, sequence_).equal(before));
  EXPECT_EQ(shape_of(parameters_.at("turned.weight")), (Shape{3, 4}));
  EXPECT_THROW(parameters_.set_weight(turned, Matrix<float>(3, 4)), ShapeError);
}

TEST(Parameters, RefuseATensorOfAnotherShape) {
  Parameters p;
  try {
    p.set({"model.norm.weight", {4}}, host({3}, {1, 2, 3}));
    FAIL();
  } catch (const ShapeError& error) {
    EXPECT_EQ(error.fact(), "is [3], the model wants [4]");
  }
}

TEST(Parameters, RefuseAnUnknownDeviceAndAnOddDtype) {
  EXPECT_THROW(Parameters({.device = "abacus"}), InputError);
  EXPECT_THROW(Parameters({.device = "cuda:117"}), UnsupportedError);
  EXPECT_THROW(Parameters({.dtype = DType::i8}), UnsupportedError);
}

TEST(Embed, NamesTheIndexThatIsOutsideTheTable) {
  spec::ModelSpec spec;
  spec.vocabulary = 3;
  spec.prologue.ops = {{"model.embed_tokens", {}, 1, spec::Embed{.table = {"t", {3, 2}}}}};
  Graph graph(spec, kExact);
  graph.parameters().set({"t", {3, 2}}, host({3, 2}, {1, 2, 3, 4, 5, 6}));
  const std::vector<int32_t> good = {2, 0}, bad = {0, 7};
  EXPECT_THAT(values_of(graph.forward({.ids = ids_tensor(good)}).logits), ElementsAre(5, 6, 1, 2));
  try {
    graph.forward({.ids = ids_tensor(bad)});
    FAIL();
  } catch (const InputError& error) {
    EXPECT_EQ(error.fact(), "index 7 is outside the table's 3 rows");
  }
  EXPECT_THROW(graph.forward({.ids = ids_tensor(std::vector<int32_t>{})}), InputError);
}

TEST(Border, TranslatesTorchErrors) {
  const at::Tensor a = at::zeros({2, 3}), b = at::zeros({2, 3});
  try {
    guarded("block 3", [&] { return a.matmul(b); });
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::internal);
    EXPECT_EQ(error.subject(), "block 3");
    EXPECT_THAT(error.fact(), HasSubstr("torch: "));
  }
  try {
    guarded("block 3", [&] { return at::zeros({1LL << 50}); });
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::budget);
    EXPECT_EQ(error.exit(), Exit::limit);
  }
}

TEST(Border, TensorsCrossWithoutChange) {
  HostTensor t(DType::bf16, {2, 1});
  t.as<uint16_t>()[0] = 0x3f80;  // 1
  t.as<uint16_t>()[1] = 0xc040;  // -3
  const at::Tensor there = to_torch(t.clone());
  EXPECT_THAT(values_of(there), ElementsAre(1, -3));
  EXPECT_EQ(dtype_of(there.scalar_type()), DType::bf16);
  EXPECT_EQ(shape_of(there), t.shape());
  EXPECT_EQ(std::memcmp(there.data_ptr(), t.bytes().data(), t.bytes().size()), 0);
}

// Debian's libtorch runs on reference BLAS (3 GFLOP/s) unless OpenBLAS is there as well.
TEST(Blas, MultipliesAtTwentyGigaflopsAtLeast) {
  const TorchThreads one(1);
  const at::NoGradGuard no_grad;
  const int64_t n = 1024;
  const at::Tensor a = to_torch(random_host({n, n}, 1)), b = to_torch(random_host({n, n}, 2));
  double best_s = 1e9;
  for (int i = 0; i < 8;
       ++i) {  // the best of several: other work on this machine is not BLAS's fault
    const auto start = std::chrono::steady_clock::now();
    const at::Tensor c = a.matmul(b);
    best_s = std::min(
        best_s, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  const double gflops = 2.0 * static_cast<double>(n * n * n) / best_s * 1e-9;
  EXPECT_GE(gflops, 20)
      << "torch multiplies matrices at " << gflops << " GFLOP/s"
      << ": install libopenblas0-pthread, without it quantizing takes twenty times as long";
  RecordProperty("gflops", std::to_string(gflops));
}

}  // namespace
}  // namespace halftone::graph
