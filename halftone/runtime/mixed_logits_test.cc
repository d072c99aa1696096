// Models mixed of two, and logits that start in the middle, against models that were made the
// plain way: equal to the last bit.
#include "halftone/runtime/mixed_logits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <utility>

#include "halftone/base/error.h"
#include "halftone/pack/mixed_model.h"
#include "halftone/runtime/logit_source.h"
#include "halftone/runtime/test_quantized.h"
#include "halftone/runtime/test_support.h"

namespace halftone::runtime {
namespace {

using testing::Bench;
using testing::fixture;
using testing::some_ids;

const format::Format kFourBits{.bits = 4, .group = 32};

// A dense model with only the ops named quantized, made without mixing.
class Partly final : public pack::testing::Wrapped {
 public:
  Partly(std::shared_ptr<const pack::PackedModel> dense, const std::set<std::string>& ops)
      : Wrapped(std::move(dense)) {
    for (const std::string& op : ops) plan_.ports[{op, format::Port::weight}] = kFourBits;
  }
  const format::Plan& plan() const override { return plan_; }
  pack::DecoratedLinear linear(const spec::Op& op) const override {
    pack::DecoratedLinear out = Wrapped::linear(op);
    if (plan_.find(op.name, format::Port::weight) != nullptr)
      out.weight = format::quantize_nearest(pack::effective_weight(out), kFourBits);
    return out;
  }

 private:
  format::Plan plan_;
};

std::set<std::string> linears_of(const pack::PackedModel& model) {
  std::set<std::string> out;
  for (const auto& ref : spec::linears(model.checkpoint().spec))
    if (ref.linear().role != spec::Role::head) out.insert(ref.op->name);
  return out;
}

// Every row of every text.
std::vector<float> rows_of(eval::LogitSource& source,
                           const std::vector<std::vector<int32_t>>& texts) {
  std::vector<float> out;
  for (const auto& text : texts)
    source.each_row(text, 0, [&](int64_t, std::span<const float> row) {
      out.insert(out.end(), row.begin(), row.end());
    });
  return out;
}

class Mixed : public ::testing::Test {
 protected:
  void open(const std::string& name) {
    dense_ = pack::open_model(fixture("models/" + name), bench_.context);
    const auto all = linears_of(*dense_);
    quantized_ = std::make_shared<Partly>(dense_, all);
  }
  std::vector<float> plain(std::shared_ptr<const pack::PackedModel> model) {
    RuntimeLogits source(Model::load(std::move(model), {}, bench_.context), {}, bench_.context);
    return rows_of(source, texts_);
  }
  Bench bench_;
  std::vector<std::vector<int32_t>> texts_ = {some_ids(40, 1), some_ids(33, 2)};
  std::shared_ptr<const pack::PackedModel> dense_, quantized_;
};

TEST_F(Mixed, LogitsThatStartAtAnyBlockAreThoseOfAWholeRun) {
  open("llama_gqa_untied");
  const auto model = Model::load(quantized_, {}, bench_.context);
  const auto expected = plain(quantized_);
  const HiddenStates states(model, texts_, bench_.context);
  EXPECT_EQ(states.cuts(), std::ssize(model->spec().blocks) + 1);
  for (int64_t cut = 0; cut < states.cuts(); ++cut) {
    ResumedLogits resumed(model, states, cut, bench_.context);
    EXPECT_EQ(rows_of(resumed, texts_), expected) << "from cut " << cut;
  }
}

TEST_F(Mixed, EveryUnitHasTheLogitsOfAModelWithJustThatQuantized) {
  for (const char* name : {"llama_gqa_untied", "llama_mha_tied", "gpt2_tiny"}) {
    SCOPED_TRACE(name);
    open(name);
    MixedLogits mixed(dense_, quantized_, texts_, {}, bench_.context);
    EXPECT_EQ(rows_of(mixed.reference(), texts_), plain(dense_));
    EXPECT_EQ(rows_of(mixed.quantized(), texts_), plain(quantized_));
    auto units = pack::units(*dense_, *quantized_);
    const auto singles = pack::linears_of(units.back(), *dense_, *quantized_);
    EXPECT_FALSE(singles.empty());
    units.insert(units.end(), singles.begin(), singles.end());
    const auto all = linears_of(*dense_);
    for (const pack::Unit& unit : units) {
      SCOPED_TRACE(unit.name);
      std::set<std::string> inside, outside;
      for (const std::string& op : all) (unit.ops.contains(op) ? inside : outside).insert(op);
      const auto only = mixed.mixed(unit, true), without = mixed.mixed(unit, false);
      EXPECT_EQ(rows_of(*only, texts_), plain(std::make_shared<Partly>(dense_, inside)));
      EXPECT_EQ(rows_of(*without, texts_), plain(std::make_shared<Partly>(dense_, outside)));
    }
  }
}

// By the definition of a LLaMA block, from its hidden states and its weights.
TEST_F(Mixed, InputsOfLinearsAreWhatTheBlockComputes) {
  open("llama_gqa_untied");
  const auto model = Model::load(dense_, {}, bench_.context);
  const HiddenStates states(model, texts_, bench_.context);
  std::map<std::string, Matrix<float>> inputs;
  std::map<std::string, std::vector<std::string>> readers;
  each_linear_input(model, states, bench_.context,
                    [&](std::span<const std::string> ops, const Matrix<float>& rows) {
                      inputs[ops[0]] = rows;
                      readers[ops[0]] = {ops.begin(), ops.end()};
                    });
  const spec::ModelSpec& spec = model->spec();
  EXPECT_EQ(inputs.size(), 4 * spec.blocks.size() + 1);
  const auto weight = [&](const std::string& op) {
    return pack::effective_weight(dense_->linear(*spec::find_op(spec, op)));
  };
  const auto norm = [&](const std::string& op, std::span<const float> x) {
    const auto& n = std::get<spec::Norm>(spec::find_op(spec, op)->params);
    const HostTensor w = to_f32(dense_->tensor(*n.weight));
    double square = 0;
    for (const float v : x) square += static_cast<double>(v) * static_cast<double>(v);
    const double by = 1 / std::sqrt(square / static_cast<double>(x.size()) + n.eps);
    std::vector<double> out;
    for (size_t k = 0; k < x.size(); ++k)
      out.push_back(static_cast<double>(x[k]) * by * static_cast<double>(w.as<float>()[k]));
    return out;
  };
  const auto product = [](const Matrix<float>& w, int64_t row, std::span<const float> x) {
    double sum = 0;
    for (size_t k = 0; k < x.size(); ++k)
      sum += static_cast<double>(w.row(row)[k]) * static_cast<double>(x[k]);
    return sum;
  };
  const int64_t tokens = states.at(0).rows;
  for (int64_t b = 0; b < std::ssize(spec.blocks); ++b) {
    const std::string block = spec.blocks[static_cast<size_t>(b)].name + ".";
    const std::string q = block + "self_attn.q_proj", up = block + "mlp.up_proj",
                      gate = block + "mlp.gate_proj", down = block + "mlp.down_proj";
    EXPECT_EQ(readers[q], (std::vector<std::string>{q, block + "self_attn.k_proj",
                                                    block + "self_attn.v_proj"}));
    ASSERT_EQ(readers[gate], (std::vector<std::string>{gate, up}));
    const Matrix<float> w_gate = weight(gate), w_up = weight(up);
    for (int64_t t = 0; t < tokens; ++t) {
      const auto expected = norm(block + "input_layernorm", states.at(b).row(t));
      for (size_t k = 0; k < expected.size(); ++k)
        ASSERT_NEAR(static_cast<double>(inputs[q].row(t)[k]), expected[k], 1e-5);
      const auto x = std::as_const(inputs[gate]).row(t);
      for (int64_t n = 0; n < w_up.rows; ++n) {
        const double g = product(w_gate, n, x);
        ASSERT_NEAR(static_cast<double>(inputs[down].at(t, n)),
                    g / (1 + std::exp(-g)) * product(w_up, n, x), 1e-5);
      }
    }
  }
  const auto last = norm("model.norm", states.at(states.cuts() - 1).row(tokens - 1));
  for (size_t k = 0; k < last.size(); ++k)
    EXPECT_NEAR(static_cast<double>(inputs["lm_head"].row(tokens - 1)[k]), last[k], 1e-5);
}

// Real folders, whose linears are taken as they are stored: all of one model in the frame of
// another, and its blocks or its tables alone, put together again.
TEST_F(Mixed, OpsOfFoldersAreReadFromTheirOwners) {
  for (auto& text : texts_)
    for (int32_t& id : text) id %= 64;
  for (const auto& [base, other] :
       {std::pair("packed/ct_int4_sym_g16", "packed/ct_int8_w8a8"),
        std::pair("packed/gptq_v1_b4_sym_g16", "packed/gptq_v2_b8_asym_g32_act")}) {
    SCOPED_TRACE(other);
    const auto a = pack::open_model(fixture(base), bench_.context),
               b = pack::open_model(fixture(other), bench_.context);
    std::set<std::string> blocks, tables;
    const spec::ModelSpec& spec = a->checkpoint().spec;
    for (const spec::Segment& block : spec.blocks)
      for (const spec::Op& op : block.ops) blocks.insert(op.name);
    for (const auto* ops : {&spec.prologue.ops, &spec.epilogue.ops})
      for (const spec::Op& op : *ops) tables.insert(op.name);
    std::set<std::string> all = blocks;
    all.insert(tables.begin(), tables.end());
    const auto whole = plain(b);
    EXPECT_NE(whole, plain(a));
    EXPECT_EQ(plain(pack::mix(a, b, all)), whole);
    EXPECT_EQ(plain(pack::mix(b, a, {})), whole);
    EXPECT_EQ(pack::mix(b, a, {})->weight_bytes(), b->weight_bytes());
    EXPECT_EQ(pack::mix(a, b, all)->weight_bytes(), b->weight_bytes());
    EXPECT_EQ(plain(pack::mix(pack::mix(a, b, blocks), b, tables)), whole);
    EXPECT_EQ(pack::mix(a, b, blocks)->plan(), b->plan());
  }
}

// A table of one model and a tied head of another, both called the same in their files.
TEST_F(Mixed, AHeadIsNoLongerTiedToTheEmbeddingOfAnotherModel) {
  open("llama_mha_tied");
  std::string head;
  for (const auto& ref : spec::linears(dense_->checkpoint().spec))
    if (ref.linear().role == spec::Role::head) head = ref.op->name;
  const auto mixed = pack::mix(dense_, quantized_, {head});
  EXPECT_TRUE(dense_->checkpoint().spec.tied_head);
  EXPECT_FALSE(mixed->checkpoint().spec.tied_head);
  EXPECT_EQ(plain(mixed), plain(dense_));  // both heads are stored alike
  EXPECT_GT(mixed->weight_bytes(), dense_->weight_bytes());
}

TEST_F(Mixed, ModelsThatAreBuiltInAnotherWayAreRefused) {
  open("llama_gqa_untied");
  const auto other = pack::open_model(fixture("models/gpt2_tiny"), bench_.context);
  try {
    pack::check_mixable(*dense_, *other);
    FAIL();
  } catch (const InputError& e) {
    EXPECT_THAT(e.what(), ::testing::HasSubstr("gpt2_tiny"));
  }
}

}  // namespace
}  // namespace halftone::runtime
