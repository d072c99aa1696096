// Noise, and the dense copies that it is added to, against weights and inputs computed the plain way.
#include "halftone/runtime/noise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "halftone/base/rng.h"
#include "halftone/pack/compression.h"
#include "halftone/runtime/hidden_states.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/test_quantized.h"
#include "halftone/runtime/test_support.h"

namespace halftone::runtime {
namespace {

using testing::Bench;
using testing::fixture;
using testing::Quantized;
using testing::some_ids;

const format::Format kFourBits{.bits = 4, .group = 32};

class Noise : public ::testing::Test {
 protected:
  Noise() {
    dense_ = pack::open_model(fixture("models/llama_mha_tied"), bench_.context);
    quantized_ = std::make_shared<Quantized>(dense_, kFourBits, false);
  }
  std::vector<float> rows(const std::shared_ptr<const pack::PackedModel>& model,
                          Session::Disturber disturber = {}) {
    RuntimeLogits source(Model::load(model, {}, bench_.context), {}, bench_.context);
    if (disturber) source.disturb(std::move(disturber));
    std::vector<float> out;
    source.each_row(some_ids(40, 1), 0, [&](int64_t, std::span<const float> row) {
      out.insert(out.end(), row.begin(), row.end());
    });
    return out;
  }
  const spec::Op& a_linear() const {
    for (const auto& ref : spec::linears(quantized_->checkpoint().spec))
      if (ref.linear().role == spec::Role::mlp_down) return *ref.op;
    throw std::runtime_error("no mlp_down");
  }
  Bench bench_;
  std::shared_ptr<const pack::PackedModel> dense_, quantized_;
};

// Simulated quantization has the same weights by another road; the tied head is a copy.
TEST_F(Noise, ADenseCopyComputesWhatItsWeightsMean) {
  const auto simulated = std::make_shared<Quantized>(dense_, kFourBits, true);
  const auto copy = pack::dense_copy(quantized_, DType::f32);
  EXPECT_EQ(rows(copy), rows(simulated));
  EXPECT_TRUE(copy->plan().ports.empty());
  const auto half = pack::dense_copy(quantized_, DType::bf16);
  EXPECT_EQ(half->linear(a_linear()).dense().dtype(), DType::bf16);
  EXPECT_LT(half->weight_bytes(), copy->weight_bytes());
}

TEST_F(Noise, OnWeightsStaysWithinItsPartOfAStep) {
  const spec::Op& op = a_linear();
  const Matrix<float> w = pack::effective_weight(quantized_->linear(op));
  const Matrix<float> steps = quantized_->steps(op).value();
  EXPECT_FALSE(dense_->steps(op).has_value());
  for (const double fraction : {0.0, 0.25}) {
    Matrix<float> noisy = w;
    weight_noise(fraction, 7)(op.name, steps, noisy);
    double worst = 0, squares = 0;
    for (int64_t n = 0; n < w.rows; ++n)
      for (int64_t k = 0; k < w.cols; ++k) {
        const double part =
            (static_cast<double>(noisy.at(n, k)) - static_cast<double>(w.at(n, k))) /
            static_cast<double>(steps.at(n, k));
        worst = std::max(worst, std::abs(part));
        squares += part * part / static_cast<double>(w.rows * w.cols);
      }
    if (fraction == 0) {
      EXPECT_EQ(noisy, w);
      continue;
    }
    EXPECT_LE(worst, fraction + 1e-4);  // the sum is rounded to f32
    EXPECT_NEAR(std::sqrt(squares), fraction / std::sqrt(3.0), 0.02 * fraction);  // uniform
    Matrix<float> again = w, other = w;
    weight_noise(fraction, 7)(op.name, steps, again);
    weight_noise(fraction, 8)(op.name, steps, other);
    EXPECT_EQ(again, noisy);
    EXPECT_NE(other, noisy);
  }
}

// A file of blocks has a step in each, in the rows that its weights have after they are put in order
// for Hugging Face: two weights that share one are whole steps apart (but for IQ4 and E2M1, whose
// levels are uneven).
TEST_F(Noise, AGgufFileHasTheStepsOfItsBlocks) {
  const auto model = pack::open_model(fixture("gguf/llama_mixed32.gguf"), bench_.context);
  int64_t with = 0, apart = 0;
  for (const auto& ref : spec::linears(model->checkpoint().spec)) {
    const auto steps = model->steps(*ref.op);
    const std::string& type =
        model->checkpoint().tensors->find(ref.linear().weight.name)->stored_as;
    ASSERT_EQ(steps.has_value(), !type.ends_with("16") && !type.ends_with("f32")) << type;
    if (!steps || !type.starts_with("q")) continue;
    ++with;
    const Matrix<float> w = pack::effective_weight(model->linear(*ref.op));
    for (int64_t n = 0; n < w.rows; ++n)
      for (int64_t k = 0; k < w.cols; ++k) {
        const int64_t first = k / 32 * 32;
        const auto step = static_cast<double>(steps->at(n, k));
        ASSERT_EQ(steps->at(n, k), steps->at(n, first));
        const double difference =
            static_cast<double>(w.at(n, k)) - static_cast<double>(w.at(n, first));
        ASSERT_NEAR(difference / step, std::round(difference / step), 1e-3) << type;
        apart += std::abs(difference) > step / 2;
      }
    Matrix<float> noisy = w;
    weight_noise(0.25, 3)(ref.op->name, *steps, noisy);
    EXPECT_NE(noisy, w);
  }
  EXPECT_GT(with, 5);
  EXPECT_GT(apart, 1000);
  const auto copy = pack::dense_copy(model, DType::f32);
  EXPECT_EQ(rows(pack::dense_copy(model, DType::f32, weight_noise(0, 1))), rows(copy));
  EXPECT_NE(rows(pack::dense_copy(model, DType::f32, weight_noise(0.25, 1))), rows(copy));
}

TEST_F(Noise, OfNothingChangesNoBitAndOfSomethingDoesAtAnyThreadCount) {
  const auto copy = pack::dense_copy(quantized_, DType::f32);
  const auto clean = rows(copy);
  EXPECT_EQ(rows(pack::dense_copy(quantized_, DType::f32, weight_noise(0, 1))), clean);
  EXPECT_EQ(rows(copy, input_noise(0, 1, bench_.context)), clean);
  const auto on_inputs = rows(copy, input_noise(0.5, 1, bench_.context));
  EXPECT_NE(on_inputs, clean);
  Bench alone(1);
  RuntimeLogits source(Model::load(copy, {}, alone.context), {.chunk = 7}, alone.context);
  source.disturb(input_noise(0.5, 1, alone.context));
  std::vector<float> other;
  source.each_row(some_ids(40, 1), 0, [&](int64_t, std::span<const float> row) {
    other.insert(other.end(), row.begin(), row.end());
  });
  EXPECT_EQ(other, on_inputs);
}

// An input has one number, wherever a step begins: the noise of a resumed pass is that of a whole one.
TEST_F(Noise, OnInputsIsTheSameWhereAPassIsResumed) {
  const auto model = Model::load(dense_, {}, bench_.context);
  const auto ids = some_ids(9, 2);
  Session session(model, {}, bench_.context);
  std::vector<int64_t> numbers;
  session.disturb(
      [&](int64_t input, std::span<const int64_t>, float*, int64_t) { numbers.push_back(input); });
  for (int step = 0; step < 2; ++step) {
    session.reset();
    session.advance(ids);
  }
  const auto inputs = std::ssize(numbers) / 2, blocks = std::ssize(model->spec().blocks);
  for (int64_t i = 0; i < 2 * inputs; ++i) EXPECT_EQ(numbers[static_cast<size_t>(i)], i % inputs);

  // Without noise before the last block, a pass with noise in it is that block resumed with noise.
  const int64_t last = blocks - 1, first = last * inputs / blocks;  // all blocks are alike
  const auto noise = input_noise(0.5, 3, bench_.context);
  session.disturb([&](int64_t input, std::span<const int64_t> at, float* rows, int64_t width) {
    if (input >= first) noise(input, at, rows, width);
  });
  std::vector<float> whole(static_cast<size_t>(model->vocabulary()), 0), resumed = whole;
  session.reset();
  session.advance(ids);
  session.logits(8, 1, whole);
  const HiddenStates states(model, {ids}, bench_.context);
  for (int step = 0; step < 2; ++step) {
    session.reset();
    session.advance_from(last, ids, states.rows(last, 0, 0, 9));
    session.logits(8, 1, resumed);
    EXPECT_EQ(resumed, whole);
  }
}

// The inputs of one linear as a disturber sees them, before and after.
TEST_F(Noise, OnInputsStaysWithinItsPartOfTheStepOfEightBits) {
  constexpr int64_t kWidth = 130;  // two blocks of 64 and a short one
  std::vector<float> x(3 * kWidth);
  const CounterRng rng(5);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(rng.normal(i));
  const std::vector<int64_t> positions = {4, 5, 9};
  std::vector<float> noisy = x, single(x.begin() + kWidth, x.begin() + 2 * kWidth);
  const auto disturb = input_noise(0.5, 3, bench_.context);
  disturb(2, positions, noisy.data(), kWidth);
  for (int64_t r = 0; r < 3; ++r)
    for (int64_t k = 0; k < kWidth; ++k) {
      float most = 0;
      for (int64_t i = k / 64 * 64; i < std::min(kWidth, k / 64 * 64 + 64); ++i)
        most = std::max(most, std::abs(x[static_cast<size_t>(r * kWidth + i)]));
      const auto at = static_cast<size_t>(r * kWidth + k);
      EXPECT_LE(std::abs(noisy[at] - x[at]), 0.5 * most / 127 + 1e-6) << r << " " << k;
    }
  disturb(2, std::span(positions).subspan(1, 1), single.data(), kWidth);
  EXPECT_TRUE(std::equal(single.begin(), single.end(), noisy.begin() + kWidth));
}

// By hand: two linears of unlike sizes would do; here all of a tiny model's, and its tied head in f32.
TEST_F(Noise, CompressionIsCountedInThreeWays) {
  double bits = 0, weights = 0, sum = 0, count = 0;
  for (const auto& ref : spec::linears(dense_->checkpoint().spec)) {
    const double n = static_cast<double>(ref.linear().in * ref.linear().out),
                 b = ref.linear().role == spec::Role::head ? 32 : 4;
    bits += n * b;
    weights += n;
    sum += b;
    count += 1;
  }
  const pack::Compression c = pack::compression(*quantized_);
  EXPECT_DOUBLE_EQ(c.nominal, bits / weights);
  EXPECT_DOUBLE_EQ(c.layer_mean, sum / count);
  EXPECT_DOUBLE_EQ(c.effective, quantized_->bits_per_weight());
  EXPECT_DOUBLE_EQ(pack::compression(*dense_).nominal, 32);
  EXPECT_DOUBLE_EQ(pack::ratio_to_f32(4), 8);
}

}  // namespace
}  // namespace halftone::runtime
