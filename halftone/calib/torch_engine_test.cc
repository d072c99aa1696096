#include "halftone/calib/torch_engine.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <thread>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/graph/graph.h"
#include "halftone/graph/torch.h"
#include "halftone/spec/pieces.h"
#include "tests/support/recorded_models.h"

namespace halftone::calib {
namespace {

using graph::CaptureKey;
using graph::CaptureKind;
using recipe::InputStatistics;
using recipe::Need;
using ::testing::HasSubstr;

struct TestContext : Context {
  std::unique_ptr<Env> posix = posix_env();
  std::unique_ptr<ThreadPool> workers;
  explicit TestContext(int64_t n = 2) : workers(std::make_unique<ThreadPool>(n)) {
    env = posix.get();
    pool = workers.get();
    threads = n;
  }
};

spec::Checkpoint fixture(const std::string& name, const Context& context) {
  return spec::open_checkpoint(std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/" + name,
                               context);
}

// Samples of different lengths, so that sharing by length is exercised as well.
std::vector<std::vector<int32_t>> samples(int64_t vocabulary) {
  std::vector<std::vector<int32_t>> list;
  for (const int64_t length : {24, 24, 7, 24, 31}) {
    std::vector<int32_t> ids;
    for (int64_t t = 0; t < length; ++t)
      ids.push_back(static_cast<int32_t>((7 + 13 * t * t + 29 * static_cast<int64_t>(list.size())) %
                                         vocabulary));
    list.push_back(ids);
  }
  return list;
}

// A driver in small: keeps hidden states, walks the blocks.
struct Walk {
  explicit Walk(recipe::BlockEngine& e, const std::vector<std::vector<int32_t>>& ids) : engine(e) {
    for (const auto& sample : ids) hidden.push_back(engine.embed(sample));
  }
  std::map<std::string, InputStatistics> run(const std::map<std::string, std::set<Need>>& observe,
                                             bool advance) {
    const auto read = [this](int64_t i) { return hidden.at(static_cast<size_t>(i)); };
    std::function<void(int64_t, Matrix<float>)> write;
    if (advance)
      write = [this](int64_t i, Matrix<float> y) {
        hidden.at(static_cast<size_t>(i)) = std::move(y);
      };
    return engine.run_block(static_cast<int64_t>(hidden.size()), read, write, observe);
  }
  recipe::BlockEngine& engine;
  std::vector<Matrix<float>> hidden;
};

std::map<std::string, std::set<Need>> observe_all(const spec::Segment& block,
                                                  const std::set<Need>& needs) {
  std::map<std::string, std::set<Need>> observe;
  for (const spec::Op& op : block.ops)
    if (std::holds_alternative<spec::Linear>(op.params)) observe[op.name] = needs;
  return observe;
}

class Families : public ::testing::TestWithParam<std::string> {};

// The inputs are captured by a whole-model forward, and everything is summed again in f64.
TEST_P(Families, StatisticsOfEveryLinearEqualThoseOfItsCapturedInputs) {
  const TestContext context;
  const spec::Checkpoint checkpoint = fixture(GetParam(), context);
  const auto ids = samples(checkpoint.spec.vocabulary);
  graph::Graph graph(checkpoint.spec);
  graph.load(*checkpoint.tensors);
  std::map<std::string, std::vector<at::Tensor>> inputs;
  graph::Capture capture;
  for (const spec::LinearRef& ref : spec::linears(checkpoint.spec))
    capture.wanted.insert({CaptureKind::linear_input, ref.op->name});
  capture.sink = [&](const CaptureKey& key, const at::Tensor& x) {
    inputs[key.name].push_back(x[0].clone());
  };
  const at::NoGradGuard no_grad;
  for (const auto& sample : ids) graph.forward({.ids = graph::ids_tensor(sample)}, &capture);

  const auto engine = torch_engine(checkpoint, context);
  Walk walk(*engine, ids);
  for (size_t b = 0; b < checkpoint.spec.blocks.size(); ++b) {
    engine->load(checkpoint.spec.blocks[b]);
    const auto observe = observe_all(
        checkpoint.spec.blocks[b],
        {Need::input_hessian, Need::input_absmax, Need::input_mean, Need::input_square});
    const auto statistics = walk.run(observe, true);
    ASSERT_EQ(statistics.size(), observe.size());
    for (const auto& [op, seen] : statistics) {
      int64_t tokens = 0;
      at::Tensor gram, sum, most;
      for (const at::Tensor& x : inputs.at(op)) {
        const at::Tensor wide = x.to(c10::kDouble);
        const at::Tensor g = wide.t().matmul(wide), s = wide.sum(0), m = wide.abs().amax(0);
        gram = gram.defined() ? gram + g : g;
        sum = sum.defined() ? sum + s : s;
        most = most.defined() ? most.maximum(m) : m;
        tokens += x.size(0);
      }
      EXPECT_EQ(seen.tokens, tokens) << op;
      EXPECT_EQ(seen.sequences, 5) << op;
      gram = gram * (2.0 / 5.0);
      const int64_t K = gram.size(0);
      ASSERT_EQ(seen.hessian->rows, K) << op;
      // Streaming and whole-model forward do the same f32 arithmetic (K terms, 2 blocks: inputs
      // equal within 1e-6 of their size); the gram of at most 31 tokens a sample adds 31 u. So 1e-5
      // of sqrt(H_ii H_jj) covers both.
      const at::Tensor diagonal = gram.diagonal().sqrt().contiguous();
      const double* d = diagonal.data_ptr<double>();
      const at::Tensor plain = gram.contiguous();
      double worst = 0;
      for (int64_t i = 0; i < K; ++i)
        for (int64_t j = 0; j < K; ++j) {
          const double bound = d[i] * d[j];
          worst = std::max(worst,
                           std::fabs(seen.hessian->at(i, j) - plain.data_ptr<double>()[i * K + j]) /
                               (bound + 1e-12));
          EXPECT_EQ(seen.hessian->at(i, j), seen.hessian->at(j, i));
        }
      EXPECT_LE(worst, 1e-5) << op;
      for (int64_t k = 0; k < K; ++k) {
        EXPECT_NEAR(seen.absmax[static_cast<size_t>(k)], most[k].item<double>(),
                    1e-5 * (1 + most[k].item<double>()))
            << op;
        EXPECT_NEAR(seen.mean[static_cast<size_t>(k)],
                    sum[k].item<double>() / static_cast<double>(tokens), 1e-5)
            << op;
        const double square = d[k] * d[k] * 2.5 / static_cast<double>(tokens);  // H is 2 / 5 of it
        EXPECT_NEAR(seen.square[static_cast<size_t>(k)], square, 1e-5 * (1 + square)) << op;
      }
    }
  }
  // And the walk ends where the whole model's last block ends.
  for (size_t i = 0; i < ids.size(); ++i) {
    at::Tensor last;
    graph::Capture hidden{.wanted = {{CaptureKind::hidden, checkpoint.spec.blocks.back().name}},
                          .sink = [&](const CaptureKey&, const at::Tensor& x) { last = x[0]; }};
    graph.forward({.ids = graph::ids_tensor(ids[i])}, &hidden);
    const at::Tensor got = graph::to_torch(Matrix<float>(walk.hidden[i]));
    EXPECT_LE((got - last).abs().max().item<double>(),
              1e-5 * (1 + last.abs().max().item<double>()));
  }
}
INSTANTIATE_TEST_SUITE_P(Fixtures, Families, ::testing::ValuesIn(tests::recorded_models()),
                         [](const auto& test) { return test.param; });

class Engine : public ::testing::Test {
 protected:
  const spec::Segment& block() const { return checkpoint_.spec.blocks[0]; }
  std::string op(const std::string& last) const { return block().name + "." + last; }
  const TestContext context_{2};
  const spec::Checkpoint checkpoint_ = fixture("llama_gqa_untied", context_);
  const std::vector<std::vector<int32_t>> ids_ = samples(checkpoint_.spec.vocabulary);
};

TEST_F(Engine, GivesTheSameBytesAtAnyThreadCountAndCaptureBudget) {
  struct Result {
    std::vector<Matrix<float>> hidden;
    std::vector<Matrix<double>> hessians;
    std::vector<std::vector<float>> rest;
  };
  const auto run = [&](int64_t threads, int64_t capture_bytes) {
    const TestContext context(threads);
    const auto engine = torch_engine(checkpoint_, context, {.capture_bytes = capture_bytes});
    Walk walk(*engine, ids_);
    Result result;
    for (size_t b = 0; b < checkpoint_.spec.blocks.size(); ++b) {
      engine->load(checkpoint_.spec.blocks[b]);
      for (const auto& [name, seen] : walk.run(
               observe_all(checkpoint_.spec.blocks[b], {Need::input_hessian, Need::input_absmax,
                                                        Need::input_mean, Need::input_square}),
               true)) {
        result.hessians.push_back(*seen.hessian);
        result.rest.push_back(seen.absmax);
        result.rest.push_back(seen.mean);
      }
    }
    result.hidden = walk.hidden;
    return result;
  };
  const Result want = run(1, int64_t{1} << 30);
  for (const auto& [threads, bytes] : {std::pair<int64_t, int64_t>{2, int64_t{1} << 30},
                                       {3, int64_t{1} << 30},
                                       {5, int64_t{1} << 30},
                                       {2, 1},
                                       {3, 40000}}) {
    const Result got = run(threads, bytes);
    EXPECT_TRUE(got.hidden == want.hidden) << threads << " threads";
    EXPECT_TRUE(got.hessians == want.hessians) << threads << " threads";
    EXPECT_TRUE(got.rest == want.rest) << threads << " threads";
  }
}

TEST_F(Engine, LinearsOfOneValueShareOneHessian) {
  const auto engine = torch_engine(checkpoint_, context_);
  Walk walk(*engine, ids_);
  engine->load(checkpoint_.spec.blocks[0]);
  const auto seen = walk.run(observe_all(block(), {Need::input_hessian}), false);
  const auto hessian = [&](const std::string& last) { return seen.at(op(last)).hessian.get(); };
  EXPECT_EQ(hessian("self_attn.q_proj"), hessian("self_attn.k_proj"));
  EXPECT_EQ(hessian("self_attn.q_proj"), hessian("self_attn.v_proj"));
  EXPECT_EQ(hessian("mlp.gate_proj"), hessian("mlp.up_proj"));
  std::set<Matrix<double>*> distinct;
  for (const auto& [name, statistics] : seen) distinct.insert(statistics.hessian.get());
  EXPECT_EQ(distinct.size(), 4u);
}

// Hidden states between the pieces of a block are f32 in both, so nothing is rounded on the way.
TEST_P(Families, PiecesOneAfterAnotherGiveTheBytesOfTheBlock) {
  const TestContext context;
  const spec::Checkpoint checkpoint = fixture(GetParam(), context);
  const auto ids = samples(checkpoint.spec.vocabulary);
  const auto engine = torch_engine(checkpoint, context);
  Walk whole(*engine, ids), pieced(*engine, ids);
  for (const spec::Segment& block : checkpoint.spec.blocks) {
    const auto pieces = spec::pieces(block, checkpoint.spec.width);
    EXPECT_EQ(pieces.size(), 2u);
    std::map<std::string, InputStatistics> seen;
    for (const spec::Segment& piece : pieces) {
      engine->load(piece);
      seen.merge(pieced.run(observe_all(piece, {Need::input_hessian}), true));
    }
    engine->load(block);
    for (const auto& [op, statistics] : whole.run(observe_all(block, {Need::input_hessian}), true))
      EXPECT_EQ(statistics.hessian->data, seen.at(op).hessian->data) << op;
    EXPECT_EQ(whole.hidden, pieced.hidden) << block.name;
  }
}

// Whatever was observed last and whichever weight is replaced, before the place where the pass
// stopped or after it.
TEST_P(Families, AnAdvancingPassThatGoesOnGivesTheBytesOfAWholeOne) {
  const TestContext context(2);
  const spec::Checkpoint checkpoint = fixture(GetParam(), context);
  const auto ids = samples(checkpoint.spec.vocabulary);
  for (const spec::Segment& piece :
       spec::pieces(checkpoint.spec.blocks[0], checkpoint.spec.width)) {
    std::vector<std::string> linears;
    for (const spec::Op& op : piece.ops)
      if (std::holds_alternative<spec::Linear>(op.params)) linears.push_back(op.name);
    const auto run = [&](const std::string& observed, const std::string& replaced,
                         int64_t keep_bytes) {
      const auto engine = torch_engine(checkpoint, context, {.keep_bytes = keep_bytes});
      Walk walk(*engine, ids);
      engine->load(piece);
      walk.run({{observed, {Need::input_absmax}}}, false);
      Matrix<float> w = engine->weight(replaced);
      for (float& x : w.data) x *= 1.25f;
      engine->set_weight(replaced, w);
      walk.run({}, true);
      return walk.hidden;
    };
    for (const std::string& observed : linears)
      for (const std::string& replaced : {linears.front(), observed, linears.back()}) {
        const auto whole = run(observed, replaced, 0);
        EXPECT_EQ(run(observed, replaced, 1 << 30), whole) << observed << ", " << replaced;
        EXPECT_EQ(run(observed, replaced, 6000), whole) << observed << ", " << replaced;
      }
  }
}

TEST_F(Engine, CapturesOnlyWhatIsDeclared) {
  const auto engine = torch_engine(checkpoint_, context_);
  Walk walk(*engine, ids_);
  engine->load(checkpoint_.spec.blocks[0]);
  const auto before = walk.hidden;
  const auto seen = walk.run({{op("mlp.down_proj"), {Need::input_absmax}}}, false);
  ASSERT_EQ(seen.size(), 1u);
  const InputStatistics& statistics = seen.begin()->second;
  EXPECT_EQ(statistics.hessian, nullptr);
  EXPECT_TRUE(statistics.mean.empty());
  EXPECT_EQ(statistics.absmax.size(), 48u);
  EXPECT_EQ(walk.hidden, before);
  EXPECT_TRUE(walk.run({}, false).empty());
}

// True sequential: what o_proj sees must come from the q, k, v already rounded, and asking for it
// leaves the rest alone.
TEST_F(Engine, LaterLinearsSeeTheWeightsSetBefore) {
  const auto engine = torch_engine(checkpoint_, context_);
  Walk walk(*engine, ids_);
  engine->load(checkpoint_.spec.blocks[0]);
  const std::map<std::string, std::set<Need>> query = {{op("self_attn.q_proj"),
                                                        {Need::input_hessian}}},
                                              out = {
                                                  {op("self_attn.o_proj"), {Need::input_hessian}}};
  const auto query_before = *walk.run(query, false).begin()->second.hessian;
  const auto out_before = *walk.run(out, false).begin()->second.hessian;
  Matrix<float> v = engine->weight(op("self_attn.v_proj"));
  EXPECT_EQ(v.rows, 16);
  EXPECT_EQ(v.cols, 32);
  for (float& w : v.data) w *= 2;
  engine->set_weight(op("self_attn.v_proj"), v);
  EXPECT_EQ(engine->weight(op("self_attn.v_proj")), v);
  EXPECT_EQ(*walk.run(query, false).begin()->second.hessian, query_before);
  // Attention is linear in v and a factor of two is exact, so the Hessian is exactly four times as
  // large.
  auto out_after = *walk.run(out, false).begin()->second.hessian;
  for (double& h : out_after.data) h /= 4;
  EXPECT_EQ(out_after, out_before);
}

TEST_F(Engine, ReadsAndWritesInOrderOnTheCallingThread) {
  const auto engine = torch_engine(checkpoint_, context_);
  Walk walk(*engine, ids_);
  engine->load(checkpoint_.spec.blocks[0]);
  std::vector<int64_t> read_order, written;
  const auto here = std::this_thread::get_id();
  engine->run_block(
      5,
      [&](int64_t i) {
        EXPECT_EQ(std::this_thread::get_id(), here);
        read_order.push_back(i);
        return walk.hidden[static_cast<size_t>(i)];
      },
      [&](int64_t i, const Matrix<float>&) {
        EXPECT_EQ(std::this_thread::get_id(), here);
        EXPECT_GT(static_cast<int64_t>(read_order.size()), i);
        written.push_back(i);
      },
      {});
  EXPECT_THAT(read_order, ::testing::ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(written, read_order);
}

TEST_F(Engine, NamesWhatIsWrong) {
  const auto engine = torch_engine(checkpoint_, context_);
  Walk walk(*engine, ids_);
  engine->load(checkpoint_.spec.blocks[0]);
  EXPECT_THROW(walk.run({{"model.layers.1.mlp.down_proj", {Need::input_absmax}}}, false),
               InputError);
  EXPECT_THROW(engine->weight("model.layers.0.mlp.act"), InputError);
  EXPECT_THROW(engine->set_weight(op("mlp.down_proj"), Matrix<float>(2, 2)), ShapeError);
  const std::vector<int32_t> outside = {1, 96};
  try {
    engine->embed(outside);
    FAIL();
  } catch (const InputError& error) {
    EXPECT_EQ(error.fact(), "96 is outside the vocabulary of 96");
  }
  Matrix<float> broken = engine->weight(op("mlp.down_proj"));
  broken.data[5] = std::numeric_limits<float>::quiet_NaN();
  engine->set_weight(op("mlp.down_proj"), broken);
  try {
    walk.run({}, true);
    FAIL();
  } catch (const NumericError& error) {
    EXPECT_EQ(error.subject(), "model.layers.0");
    EXPECT_EQ(error.fact(), "the hidden states of sample 0 are not finite");
  }
}

}  // namespace
}  // namespace halftone::calib
