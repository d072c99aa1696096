#include "halftone/recipe/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <map>
#include <set>

#include "halftone/base/hash.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"
#include "halftone/files/safetensors.h"
#include "halftone/files/test_files.h"
#include "halftone/pack/packed_model.h"
#include "halftone/recipe/library.h"
#include "halftone/recipe/test_parts.h"
#include "halftone/recipe/work_folder.h"
#include "halftone/recipe/yaml.h"

namespace halftone::recipe {
namespace {

using files::testing_files::line_of;
using files::testing_files::TempFolder;
using testing::HasSubstr;

// Hundreds of runs that sync every file: in memory where that is possible.
const bool kInMemory = [] {
  return posix_env()->stat("/dev/shm") && ::setenv("TMPDIR", "/dev/shm", 0) == 0;
}();

// Runs blocks of the toy model with attention replaced by a causal mean: what matters here is that
// later blocks see earlier ones.
class ToyEngine : public BlockEngine {
 public:
  ToyEngine(const spec::Checkpoint& checkpoint, ThreadPool& pool, bool blind)
      : checkpoint_(checkpoint), pool_(pool), blind_(blind) {}

  Matrix<float> embed(std::span<const int32_t> ids) override {
    const HostTensor table = checkpoint_.tensors->read("model.embed_tokens.weight");
    const int64_t width = table.dim(1);
    Matrix<float> out(static_cast<int64_t>(ids.size()), width);
    for (size_t t = 0; t < ids.size(); ++t)
      std::copy_n(table.as<float>().begin() + ids[t] * width, width,
                  out.row(static_cast<int64_t>(t)).begin());
    return out;
  }
  void load(const spec::Segment& segment) override {
    block_ = &segment;
    weights_.clear();
    for (const spec::Op& op : block_->ops)
      if (const auto* linear = std::get_if<spec::Linear>(&op.params)) {
        const HostTensor w = checkpoint_.tensors->read(linear->weight.name);
        Matrix<float> m(linear->out, linear->in);
        std::copy(w.as<float>().begin(), w.as<float>().end(), m.data.begin());
        weights_[op.name] = std::move(m);
      }
  }
  void set_weight(const std::string& op, const Matrix<float>& w) override { weights_.at(op) = w; }
  Matrix<float> weight(const std::string& op) override { return weights_.at(op); }

  std::map<std::string, InputStatistics> run_block(
      int64_t samples, const std::function<Matrix<float>(int64_t)>& read,
      const std::function<void(int64_t, Matrix<float>)>& write,
      const std::map<std::string, std::set<Need>>& observe) override {
    std::vector<std::map<std::string, Matrix<float>>> inputs(static_cast<size_t>(samples));
    pool_.each(samples, [&](int64_t s) {
      Matrix<float> out = forward(read(s), observe, inputs[static_cast<size_t>(s)]);
      if (write) write(s, std::move(out));
    });
    std::map<std::string, InputStatistics> result;
    for (const auto& [op, needs] : observe) {
      InputStatistics& stat = result[op];
      stat.sequences = samples;
      for (int64_t s = 0; s < samples; ++s) {  // in index order, whoever computed them
        const Matrix<float>& x = inputs[static_cast<size_t>(s)].at(op);
        if (!stat.hessian) stat.hessian = std::make_shared<Matrix<double>>(x.cols, x.cols);
        stat.tokens += x.rows;
        for (int64_t t = 0; t < x.rows; ++t)
          for (int64_t a = 0; a < x.cols; ++a)
            for (int64_t b = 0; b < x.cols; ++b)
              stat.hessian->at(a, b) += 2.0 / static_cast<double>(samples) *
                                        static_cast<double>(x.at(t, a)) *
                                        static_cast<double>(x.at(t, b));
      }
    }
    return result;
  }

 private:
  Matrix<float> forward(Matrix<float> input, const std::map<std::string, std::set<Need>>& observe,
                        std::map<std::string, Matrix<float>>& seen) const {
    std::map<int32_t, Matrix<float>> values;
    const int64_t tokens = input.rows;
    values[0] = std::move(input);
    for (const spec::Op& op : block_->ops) {
      const Matrix<float>& x = values.at(op.in[0].value);
      Matrix<float> y = x;
      if (const auto* linear = std::get_if<spec::Linear>(&op.params)) {
        if (observe.contains(op.name)) seen[op.name] = x;
        const Matrix<float>& w = weights_.at(op.name);
        y = Matrix<float>(tokens, linear->out);
        for (int64_t t = 0; t < tokens; ++t)
          for (int64_t n = 0; n < linear->out; ++n)
            for (int64_t k = 0; k < linear->in; ++k) y.at(t, n) += w.at(n, k) * x.at(t, k);
      } else if (const auto* attention = std::get_if<spec::Attention>(&op.params)) {
        const Matrix<float>& v = values.at(op.in[2].value);
        const int64_t d = attention->head_dim, share = attention->heads / attention->kv_heads;
        y = Matrix<float>(tokens, attention->heads * d);
        for (int64_t t = 0; t < tokens; ++t)
          for (int64_t c = 0; c < y.cols; ++c)
            for (int64_t u = 0; u <= t; ++u)
              y.at(t, c) += v.at(u, c / d / share * d + c % d) *
                            (1 + 0.1f * std::tanh(x.at(t, c))) / static_cast<float>(t + 1);
      } else if (std::holds_alternative<spec::Norm>(op.params)) {
        for (int64_t t = 0; t < tokens; ++t) {
          float sum = 1e-5f;
          for (const float v : x.row(t)) sum += v * v / static_cast<float>(x.cols);
          for (float& v : y.row(t)) v /= std::sqrt(sum);
        }
      } else if (std::holds_alternative<spec::Activation>(op.params)) {
        for (float& v : y.data) v /= 1 + std::exp(-v);
      } else {
        const Matrix<float>& z = values.at(op.in[1].value);
        const bool add = std::holds_alternative<spec::Add>(op.params);
        for (size_t i = 0; i < y.data.size(); ++i)
          y.data[i] = add ? y.data[i] + z.data[i] : y.data[i] * z.data[i];
      }
      if (blind_ && op.name.ends_with("input_layernorm"))
        std::fill(y.data.begin(), y.data.end(), 0.0f);
      values[op.out] = std::move(y);
    }
    return values.at(block_->ops.back().out);
  }

  const spec::Checkpoint& checkpoint_;
  ThreadPool& pool_;
  bool blind_;
  const spec::Segment* block_ = nullptr;
  std::map<std::string, Matrix<float>> weights_;
};

// Fails every operation from number `at` on, as a killed process would do no more. `lose`: what was
// not synced is cut in half and renames whose folder was not synced are undone, as after a power
// cut.
class CrashingEnv {
 public:
  CrashingEnv(Env& real, int64_t at) : real_(real), at_(at) {
    env_ = fault_env(real_, [this](std::string_view operation, const std::string& path) {
      return gate(operation, path);
    });
  }
  Env& env() { return *env_; }
  int64_t operations() const { return count_; }
  bool crashed() const { return at_ > 0 && count_ >= at_; }
  void lose_unsynced() {
    for (const auto& [path, kind] : dirty_)
      if (const auto info = real_.stat(path); info && info->is_regular)
        real_.truncate(path, info->size / 2);
  }

 private:
  int gate(std::string_view operation, const std::string& path) {
    if (operation == "stat" || operation == "list" || operation == "open" ||
        operation == "free_space")
      return crashed() ? EIO : 0;
    ++count_;
    if (crashed()) return EIO;
    if (operation == "write") dirty_[path] = 1;
    if (operation == "sync") dirty_.erase(path);
    if (operation == "rename") dirty_.erase(path + ".tmp");
    return 0;
  }
  Env& real_;
  int64_t at_, count_ = 0;
  std::map<std::string, int> dirty_;
  std::unique_ptr<Env> env_;
};

constexpr const char* kFeedback =
    "{format: int4_g16, rounder: feedback, calibration: {data: x, samples: 5, length: 12}}";

class Driver : public testing::Test {
 protected:
  Driver() {
    static_cast<void>(kInMemory);
    write_model("model", 3, false);
    folder.env().make_directories(folder.in("tok"));
  }

  void write_model(const std::string& name, int64_t blocks, bool tied,
                   const std::function<void(const std::string&, HostTensor&)>& change = {}) {
    const spec::ModelSpec spec = toy_spec(blocks, tied);
    folder.env().make_directories(folder.in(name));
    folder.write(name + "/config.json", toy_config(blocks, tied).dump());
    folder.write(name + "/tokenizer.json", "{\"fake\": true}");
    std::vector<std::pair<std::string, HostTensor>> tensors;
    uint32_t stream = 0;
    for (const auto& ref : spec::tensors(spec)) {
      HostTensor t(DType::f32, ref.shape);
      const CounterRng rng(7, stream++);
      for (size_t i = 0; i < t.as<float>().size(); ++i)
        t.as<float>()[i] = ref.shape.size() == 1 ? 1.0f : static_cast<float>(rng.normal(i)) * 0.2f;
      if (change) change(ref.name, t);
      tensors.emplace_back(ref.name, std::move(t));
    }
    std::vector<std::pair<std::string, const HostTensor*>> views;
    for (const auto& [n, t] : tensors) views.emplace_back(n, &t);
    files::write_safetensors(folder.env(), folder.in(name + "/model.safetensors"), views);
  }

  Recipe recipe(const std::string& yaml) {
    Recipe r = recipe_from_json(parse_yaml(yaml, "test"), "test", "test");
    resolve(r, test_parts());
    return r;
  }

  struct Setting {
    std::string recipe = kFeedback, output = "out", model = "model";
    Env* env = nullptr;
    int64_t threads = 1;
    bool resume = false, force = false, blind = false;
    uint64_t spill_budget = 1 << 30, seed = 0;
    std::function<void(QuantizeRequest&)> change = {};
    std::atomic<bool>* stop = nullptr;
    std::function<void(const Progress&)> progress = {};
  };
  Context context_for(const Setting& s) {
    Context context = folder.context;
    if (s.env) context.env = s.env;
    context.threads = s.threads;
    context.stop = s.stop;
    if (s.progress) context.progress = s.progress;
    return context;
  }
  QuantizeRequest request_for(const Setting& s) {
    QuantizeRequest request;
    request.checkpoint = spec::open_checkpoint(folder.in(s.model), folder.context);
    request.recipe = recipe(s.recipe);
    request.output = folder.in(s.output);
    request.resume = s.resume;
    request.force = s.force;
    request.spill_budget = s.spill_budget;
    request.resume_command = "halftone quantize m --resume";
    if (s.change) s.change(request);
    return request;
  }
  QuantizeResult run(const Setting& s) {
    Context context = context_for(s);
    ThreadPool pool(s.threads);
    context.pool = &pool;
    const QuantizeRequest request = request_for(s);
    Capabilities can;
    can.parts = &test_parts();
    can.numeric_path = "test";
    can.engine = [&] { return std::make_unique<ToyEngine>(request.checkpoint, pool, s.blind); };
    can.calibrate = [&](const CalibrationRequest& wanted) {
      CalibrationSet set;
      const CounterRng rng(s.seed, 99);
      for (int64_t i = 0; i < wanted.samples; ++i) {
        set.samples.emplace_back();
        for (int64_t t = 0; t < wanted.length; ++t)
          set.samples.back().push_back(
              static_cast<int32_t>(rng.u32(static_cast<uint64_t>(i * wanted.length + t)) % 64));
      }
      set.report.fingerprint = fingerprint_ids(set.samples);
      return set;
    };
    return quantize(request, can, context);
  }
  std::string refusal(const Setting& s) {
    return line_of([&] { run(s); });
  }
  // Names and contents of a folder.
  std::map<std::string, std::string> hashes(const std::string& name) {
    std::map<std::string, std::string> out;
    for (const std::string& file : folder.env().list(folder.in(name)))
      out[file] =
          Hasher().add(folder.env().read_text(join_path(folder.in(name), file), 1 << 30)).hex();
    return out;
  }
  bool exists(const std::string& name) { return folder.env().stat(folder.in(name)).has_value(); }

  TempFolder folder;
};

TEST_F(Driver, WritesAFolderThatReadsBackAsTheCodesItChose) {
  const QuantizeResult result = run({});
  EXPECT_EQ(result.layers.size(), 21u);
  EXPECT_FALSE(exists("out.work"));
  for (const LayerReport& layer : result.layers) {
    EXPECT_GT(layer.error, 0) << layer.op;
    EXPECT_LT(layer.ratio(), 1) << layer.op;
  }
  EXPECT_EQ(result.plan.layout, "compressed-tensors");
  EXPECT_DOUBLE_EQ(result.bits_per_weight, 5.0);  // 4 + 16 / 16

  const auto model = pack::open_model(folder.in("out"), folder.context);
  EXPECT_EQ(model->plan().ports.size(), 21u);
  const auto source = spec::open_checkpoint(folder.in("model"), folder.context);
  for (const auto& ref : spec::linears(source.spec)) {
    const auto linear = model->linear(*ref.op);
    ASSERT_EQ(linear.quantized(), ref.op->name != "lm_head");
    const HostTensor w = source.tensors->read(ref.linear().weight.name);
    const Matrix<float> q = pack::effective_weight(linear);
    double worst = 0;
    for (size_t i = 0; i < q.data.size(); ++i)
      worst = std::max(worst, std::abs(static_cast<double>(q.data[i]) - w.as<float>()[i]));
    // Coordinate descent moves codes by a few steps; a step of 4 bits on values of sigma 0.2 is
    // about 0.07.
    EXPECT_LT(worst, linear.quantized() ? 0.8 : 0.001) << ref.op->name;
  }
  const Json config = parse_json(folder.read("out/config.json"), "config.json");
  EXPECT_EQ(config["quantization_config"]["quant_method"], "compressed-tensors");
  EXPECT_EQ(config["quantization_config"]["ignore"].dump(), "[\"lm_head\"]");
  EXPECT_EQ(config["torch_dtype"], "float16");
  EXPECT_EQ(folder.read("out/tokenizer.json"), "{\"fake\": true}");
  const Json receipt = parse_json(folder.read("out/halftone.json"), "halftone.json");
  EXPECT_EQ(receipt["layers"].size(), 21u);
  EXPECT_EQ(receipt["recipe"]["rounder"]["name"], "feedback");
  EXPECT_EQ(receipt["fingerprint"], result.fingerprint);
  // The plan's bytes are the file's.
  EXPECT_EQ(result.plan.output_bytes, model->weight_bytes());
  EXPECT_GT(result.output_bytes, result.plan.output_bytes);
}

TEST_F(Driver, SequentialAndOverridesReachTheRounder) {
  const auto plain = run({.output = "a"});
  const auto parallel = run({.recipe = "{sequential: false, format: int4_g16, rounder: feedback, "
                                       "calibration: {samples: 5, length: 12}}",
                             .output = "b"});
  const auto mixed = run(
      {.recipe = "{format: int4_g16, rounder: feedback, calibration: {samples: 5, length: 12},\n"
                 " overrides: [{roles: key, rounder: nearest}, {roles: mlp_down, format: int8}]}",
       .output = "c"});
  const auto layer = [](const QuantizeResult& r, const std::string& op) {
    for (const LayerReport& l : r.layers)
      if (l.op == op) return l;
    return LayerReport{};
  };
  const std::string first = "model.layers.0.self_attn.q_proj",
                    later = "model.layers.0.mlp.down_proj";
  EXPECT_EQ(layer(plain, first).error,
            layer(parallel, first).error);  // sees the same inputs either way
  EXPECT_NE(layer(plain, later).error, layer(parallel, later).error);
  EXPECT_EQ(layer(mixed, "model.layers.0.self_attn.k_proj").rounder, "nearest");
  EXPECT_EQ(layer(mixed, "model.layers.0.self_attn.k_proj").ratio(), 1);
  EXPECT_LT(layer(mixed, "model.layers.0.self_attn.v_proj").ratio(), 1);
  EXPECT_EQ(layer(mixed, later).format.bits, 8);
  EXPECT_EQ(pack::open_model(folder.in("c"), folder.context)
                ->plan()
                .find(later, format::Port::weight)
                ->bits,
            8);
}

TEST_F(Driver, SameBytesAtAnyThreadCountAndSpillBudget) {
  run({});
  const auto wanted = hashes("out");
  int i = 0;
  for (const int64_t threads : {1, 2, 3})
    for (const uint64_t budget : {uint64_t{0}, uint64_t{4000}, uint64_t{1} << 30}) {
      const std::string name = "out" + std::to_string(i++);
      run({.output = name, .threads = threads, .spill_budget = budget});
      EXPECT_EQ(hashes(name), wanted) << threads << " threads, budget " << budget;
    }
}

TEST_F(Driver, NearestNeedsNoEngine) {
  QuantizeRequest request = request_for({.recipe = "{format: int4_g32, keep: embedding}"});
  Capabilities can;
  can.parts = &test_parts();
  const QuantizeResult result = quantize(request, can, folder.context);
  EXPECT_FALSE(result.calibration.has_value());
  EXPECT_EQ(result.blocks, 4);                // three blocks, and the head
  EXPECT_EQ(result.plan.layout, "halftone");  // down_proj has K = 48: a short last group
  const auto model = pack::open_model(folder.in("out"), folder.context);
  for (const auto& ref : spec::linears(request.checkpoint.spec)) {
    const HostTensor w = request.checkpoint.tensors->read(ref.linear().weight.name);
    Matrix<float> m(ref.linear().out, ref.linear().in);
    std::copy(w.as<float>().begin(), w.as<float>().end(), m.data.begin());
    const auto codes = format::quantize_nearest(m, request.recipe.format);
    EXPECT_EQ(model->linear(*ref.op).codes().codes, codes.codes) << ref.op->name;
    EXPECT_EQ(model->linear(*ref.op).codes().scales, codes.scales) << ref.op->name;
  }
  // With calibration asked for, a program without an engine says so before anything is written.
  request = request_for({.output = "none"});
  EXPECT_THAT(line_of([&] { quantize(request, can, folder.context); }),
              HasSubstr("calibration needs the engine"));
  EXPECT_FALSE(exists("none.work"));
}

TEST_F(Driver, GptqLayoutHoldsTheSameWeights) {
  // K and N are multiples of 8 at 4 bits: 32, 48, 16.
  run({.output = "ours"});
  run({.recipe = "{layout: gptq, format: int4_g16, rounder: feedback, calibration: {samples: 5, "
                 "length: 12}}",
       .output = "v1"});
  run({.recipe = "{layout: gptq_v2, format: int4_g16, rounder: feedback, calibration: {samples: 5, "
                 "length: 12}}",
       .output = "v2"});
  const auto ours = pack::open_model(folder.in("ours"), folder.context);
  for (const char* name : {"v1", "v2"}) {
    const auto gptq = pack::open_model(folder.in(name), folder.context);
    const Json config = parse_json(folder.read(std::string(name) + "/config.json"),
                                   "config.json")["quantization_config"];
    EXPECT_EQ(config["checkpoint_format"], std::string(name) == "v1" ? "gptq" : "gptq_v2");
    EXPECT_EQ(parse_json(folder.read(std::string(name) + "/quantize_config.json"), "q"), config);
    for (const auto& ref : spec::linears(ours->checkpoint().spec))
      EXPECT_EQ(pack::effective_weight(gptq->linear(*ref.op)),
                pack::effective_weight(ours->linear(*ref.op)))
          << ref.op->name;
  }
  EXPECT_THAT(refusal({.recipe = "{layout: gptq, format: int4_g32}", .output = "no"}),
              HasSubstr("the GPTQ layout cannot hold group 32 on K = 48; use one scale a row, or "
                        "keep the halftone layout"));
  EXPECT_THAT(refusal({.recipe = "{layout: gptq_v1, format: int4_g16_asym}", .output = "no"}),
              HasSubstr("use layout gptq_v2"));
  EXPECT_FALSE(exists("no.work"));
}

TEST_F(Driver, ScatteredGroupsAreNotShownToOtherLoaders) {
  const std::string scattering =
      "{format: int4_g16, rounder: {name: feedback, list_groups: true}, calibration: {samples: 5, "
      "length: 12}";
  EXPECT_EQ(run({.recipe = scattering + "}"}).plan.layout, "halftone");
  EXPECT_THAT(folder.log, HasSubstr("static_groups: true keeps compressed-tensors"));
  const Json config =
      parse_json(folder.read("out/config.json"), "config.json")["quantization_config"];
  EXPECT_EQ(config["quant_method"], "halftone");
  EXPECT_EQ(config["config_groups"]["group_0"]["weights"]["actorder"], "group");
  run({.recipe = scattering + ", layout: gptq}", .output = "gptq"});
  EXPECT_EQ(
      parse_json(folder.read("gptq/config.json"), "config.json")["quantization_config"]["desc_act"],
      true);
  run({.output = "plain"});
  const auto scattered = pack::open_model(folder.in("out"), folder.context),
             gptq = pack::open_model(folder.in("gptq"), folder.context),
             plain = pack::open_model(folder.in("plain"), folder.context);
  for (const auto& ref : spec::linears(plain->checkpoint().spec)) {
    EXPECT_EQ(pack::effective_weight(scattered->linear(*ref.op)),
              pack::effective_weight(plain->linear(*ref.op)))
        << ref.op->name;
    EXPECT_EQ(pack::effective_weight(gptq->linear(*ref.op)),
              pack::effective_weight(plain->linear(*ref.op)))
        << ref.op->name;
  }
}

TEST_F(Driver, KilledAtEveryOperationItResumesToTheSameBytes) {
  run({.output = "undisturbed"});
  const auto wanted = hashes("undisturbed");
  std::set<int64_t> reused;
  int64_t runs = 0;
  for (int64_t at = 1;; ++at) {
    CrashingEnv crashing(folder.env(), at);
    bool failed = false;
    try {
      run({.env = &crashing.env(), .spill_budget = 4000});
    } catch (const Error&) {
      failed = true;
    }
    if (!crashing.crashed()) {
      EXPECT_FALSE(failed);
      break;
    }
    ++runs;
    if (at % 2 == 0) crashing.lose_unsynced();
    // Nothing under the final name that is not whole.
    EXPECT_TRUE(!exists("out") || hashes("out") == wanted) << at;
    const QuantizeResult result = run({.resume = true});
    reused.insert(result.reused_blocks);
    ASSERT_EQ(hashes("out"), wanted) << "killed at operation " << at;
    EXPECT_FALSE(exists("out.work")) << at;
    EXPECT_EQ(result.layers.size(), 21u);
    folder.env().remove_tree(folder.in("out"));
  }
  EXPECT_GT(runs, 60);
  EXPECT_EQ(reused, (std::set<int64_t>{0, 1, 2, 3}));
}

TEST_F(Driver, KilledWhileReplacingItKeepsOneWholeOutput) {
  const std::string before = "{format: int8}", after = "{format: int4_g16}";
  run({.recipe = before});
  const auto old = hashes("out");
  CrashingEnv counting(folder.env(), 0);
  run({.recipe = after, .output = "undisturbed", .env = &counting.env()});
  const auto wanted = hashes("undisturbed");
  // From the first write into the folder that will replace the old one.
  for (int64_t at = counting.operations() - 40;; ++at) {
    CrashingEnv crashing(folder.env(), at);
    line_of([&] { run({.recipe = after, .env = &crashing.env(), .force = true}); });
    const auto now = hashes("out");
    EXPECT_TRUE(now == old || now == wanted) << at;
    if (!crashing.crashed()) break;
    run({.recipe = after, .resume = true, .force = true});
    ASSERT_EQ(hashes("out"), wanted) << at;
    EXPECT_FALSE(exists("out.work")) << at;
    run({.recipe = before, .force = true});
  }
}

TEST_F(Driver, FullDiskAtAnyWriteKeepsWhatIsDone) {
  run({.output = "undisturbed"});
  const auto wanted = hashes("undisturbed");
  for (int64_t at = 1;; ++at) {
    int64_t writes = 0;
    const auto full = fault_env(folder.env(), [&](std::string_view operation, const std::string&) {
      return operation == "write" && ++writes >= at ? ENOSPC : 0;
    });
    const std::string line = refusal({.env = full.get(), .spill_budget = 4000});
    if (writes < at) break;
    EXPECT_THAT(line, HasSubstr("error[E_IO]")) << at;
    EXPECT_THAT(line, HasSubstr("free some space")) << at;
    EXPECT_FALSE(exists("out")) << at;
    const bool begun = exists("out.work");
    for (const std::string& name :
         begun ? folder.env().list(folder.in("out.work")) : std::vector<std::string>())
      EXPECT_FALSE(name.ends_with(".tmp") || name == "out") << name;
    run({.resume = true});
    ASSERT_EQ(hashes("out"), wanted) << at;
    folder.env().remove_tree(folder.in("out"));
  }
}

TEST_F(Driver, InterruptedItNamesTheCommandThatGoesOn) {
  run({.output = "undisturbed"});
  std::atomic<bool> stop = false;
  const std::string line = refusal({.stop = &stop, .progress = [&](const Progress& p) {
                                      if (p.stage == "quantize" && p.done > 0.6 * p.total)
                                        stop = true;
                                    }});
  EXPECT_THAT(line, HasSubstr("error[E_INTERRUPTED]"));
  EXPECT_THAT(
      line,
      HasSubstr("1 of 3 blocks are finished and kept; go on with: halftone quantize m --resume"));
  EXPECT_FALSE(exists("out"));
  EXPECT_EQ(run({.resume = true}).reused_blocks, 1);
  EXPECT_EQ(hashes("out"), hashes("undisturbed"));
  EXPECT_THAT(folder.log, HasSubstr("1 of 3 blocks are reused"));
}

// Leaves an unfinished run with one finished block, and part of the next.
class Unfinished : public Driver {
 protected:
  Unfinished() {
    std::atomic<bool> stop = false;
    refusal({.stop = &stop, .progress = [&](const Progress& p) {
               if (p.stage == "quantize" && p.done > 0.6 * p.total) stop = true;
             }});
  }
};

TEST_F(Unfinished, AnotherFingerprintIsRefusedNamingTheFields) {
  EXPECT_THAT(refusal({.recipe = "{format: int3_g16, rounder: feedback, calibration: {data: x, "
                                 "samples: 5, length: 12}}",
                       .resume = true}),
              HasSubstr("holds an unfinished run with other inputs (they differ in: "
                        "recipe.format.bits); run it as before to finish it, or "
                        "--force to start over"));
  EXPECT_THAT(refusal({.resume = true, .seed = 1}), HasSubstr("(they differ in: calibration)"));
  write_model("model", 3, false, [](const std::string& name, HostTensor& t) {
    if (name == "model.layers.2.mlp.up_proj.weight") t.as<float>()[5] += 0.01f;
  });
  EXPECT_THAT(refusal({.resume = true}), HasSubstr("(they differ in: weights)"));
  folder.write("model/tokenizer.json", "{}");
  EXPECT_THAT(refusal({.resume = true}),
              HasSubstr("(they differ in: tokenizer.tokenizer.json, weights)"));
  EXPECT_EQ(run({.force = true}).reused_blocks, 0);
  EXPECT_TRUE(exists("out"));
}

TEST_F(Unfinished, WithoutResumeItGoesOnAllTheSame) { EXPECT_EQ(run({}).reused_blocks, 1); }

TEST_F(Unfinished, ADamagedPartIsDoneAgain) {
  run({.output = "undisturbed"});
  std::string part = folder.read("out.work/layer-0000.safetensors");
  part[part.size() - 3] ^= 1;
  folder.write("out.work/layer-0000.safetensors", part);
  EXPECT_EQ(run({.resume = true}).reused_blocks, 0);
  EXPECT_THAT(folder.log, HasSubstr("damaged from part 0 on"));
  EXPECT_EQ(hashes("out"), hashes("undisturbed"));
}

TEST_F(Unfinished, ATornJournalLosesOneBlock) {
  run({.output = "undisturbed"});
  const std::string journal = folder.read("out.work/journal");
  for (const std::string& torn : {journal.substr(0, journal.size() - 5),
                                  journal + "{\"kind\":\"block\",\"unit\":1", journal + journal}) {
    folder.write("out.work/journal", torn);
    const bool cut = torn.size() < journal.size();
    CrashingEnv crashing(folder.env(), 30);
    line_of([&] { run({.env = &crashing.env(), .resume = true}); });
    EXPECT_EQ(run({.resume = true}).reused_blocks >= (cut ? 0 : 1), true);
    EXPECT_EQ(hashes("out"), hashes("undisturbed"));
    folder.env().remove_tree(folder.in("out"));
    std::atomic<bool> stop = false;
    refusal({.stop = &stop, .progress = [&](const Progress& p) {
               if (p.stage == "quantize" && p.done > 0.6 * p.total) stop = true;
             }});
  }
}

// As Journal writes a line: the body, its checksum.
std::string journal_line(const Json& record) {
  char sum[17];
  const std::string body = record.dump();
  std::snprintf(sum, sizeof(sum), "%016llx",
                static_cast<unsigned long long>(hash64(std::as_bytes(std::span(body)))));
  return body + " " + sum + "\n";
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n') + 1); }

TEST_F(Unfinished, EveryFlippedByteOfTheJournalIsFound) {
  const std::string journal = first_line(folder.read("out.work/journal"));
  for (size_t i = 0; i < journal.size(); i += i < 40 || i + 40 > journal.size() ? 1 : 17) {
    std::string flipped = journal;
    flipped[i] = static_cast<char>(flipped[i] ^ (1 << (i % 7)));
    folder.write("copy",
                 journal_line({{"kind", "first"}}) + flipped + journal_line({{"kind", "last"}}));
    // Before the damage everything counts, from there on nothing.
    ASSERT_EQ(Journal(folder.env(), folder.in("copy")).records().size(), 1u) << i;
    folder.write("copy", journal.substr(0, i));
    ASSERT_EQ(Journal(folder.env(), folder.in("copy")).records().size(), 0u) << i;
  }
}

TEST_F(Unfinished, StrangeRecordsWithGoodChecksumsAreDoneAgain) {
  run({.output = "undisturbed"});
  const std::string whole = first_line(folder.read("out.work/journal"));
  const Json good = parse_json(std::string_view(whole).substr(0, whole.size() - 18), "journal");
  const std::string part = folder.read("out.work/layer-0000.safetensors"),
                    before = folder.read("out.work/run.json");
  ASSERT_EQ(journal_line(good), whole);
  folder.write("secret.safetensors", part);
  std::vector<Json> records = {nullptr,       7, "block", Json::array(), Json::array({good}),
                               Json::object()};
  const std::vector<Json> values = {nullptr, uint64_t{1} << 63, "../secret.safetensors",
                                    Json::object()};
  const Json flat = good.flatten();
  std::set<std::string> places;
  for (const auto& [pointer, old] : flat.items())
    for (std::string at = pointer; !at.empty(); at = at.substr(0, at.rfind('/'))) places.insert(at);
  for (const std::string& at : places) {
    if (at.starts_with("/layers/") && !at.starts_with("/layers/0"))
      continue;  // the others are alike
    for (const Json& value : values) {
      Json record = good;
      record[Json::json_pointer(at)] = value;
      records.push_back(record);
    }
  }
  for (const Json& record : records) {
    folder.env().remove_tree(folder.in("out"));
    folder.env().make_directories(folder.in("out.work"));
    folder.write("out.work/run.json", before);
    folder.write("out.work/layer-0000.safetensors", part);
    folder.write("out.work/journal", journal_line(record));
    const std::string line = refusal({.resume = true});
    // Wrong numbers of a report cannot be told from right ones, and change nothing but the report;
    // everything else is the same run.
    if (line == "no error")
      EXPECT_EQ(folder.read("out/model.safetensors"), folder.read("undisturbed/model.safetensors"))
          << record;
    else
      EXPECT_THAT(line,
                  testing::AllOf(testing::StartsWith("error[E_"), HasSubstr("--force starts over")))
          << record;
    EXPECT_EQ(folder.read("secret.safetensors"), part);
    folder.env().remove_tree(folder.in("out.work"));
  }
}

TEST_F(Unfinished, ADamagedOrFutureRunIsNotTouchedWithoutForce) {
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "error[E_JSON]"},
           {"{\"schema\":1,", "error[E_JSON]"},
           {"[]", "error[E_MISMATCH]"},
           {"{}", "error[E_MISMATCH]"},
           {"{\"schema\":1,\"schema\":1}", "error[E_DUP]"},
           {std::string(100'000, '['), "error[E_DEPTH]"},
           {"{\"schema\":1,\"fingerprint\":7}", "error[E_MISMATCH]"},
           {"{\"schema\":2,\"fingerprint\":{}}", "error[E_VERSION]"}}) {
    folder.write("out.work/run.json", text);
    const std::string line = refusal({.resume = true});
    EXPECT_THAT(line, testing::AllOf(testing::StartsWith(part), HasSubstr("--force"))) << text;
    EXPECT_EQ(folder.read("out.work/run.json"), text);
    EXPECT_TRUE(exists("out.work/layer-0000.safetensors"));
  }
  EXPECT_EQ(run({.force = true}).reused_blocks, 0);
}

TEST_F(Driver, AReceiptThatContradictsItselfIsRefused) {
  const QuantizeResult result = run({});
  const Json good = parse_json(folder.read("out/halftone.json"), "halftone.json");
  const auto with = [&](const std::function<void(Json&)>& change) {
    Json receipt = good;
    change(receipt);
    folder.write("out/halftone.json", receipt.dump());
    return refusal({.resume = true});
  };
  EXPECT_EQ(with([](Json&) {}), "no error");
  for (const auto& line :
       {with([](Json& r) { r.erase("layers"); }), with([](Json& r) { r["layers"] = 7; }),
        with([](Json& r) { r["layers"][0] = 7; }),
        with([](Json& r) { r["layers"][0]["op"] = "lm_head"; }),
        with([](Json& r) { r["layers"][0] = r["layers"][1]; }),
        with([](Json& r) { r["layers"].erase(0); }),
        with([](Json& r) { r["layers"][0]["error"] = "much"; }),
        with([](Json& r) { r["layers"][0]["format"] = nullptr; })})
    EXPECT_THAT(line, testing::AllOf(testing::StartsWith("error[E_"), HasSubstr("halftone.json"),
                                     HasSubstr("--force")));
  // Another run's receipt, or none that can be read: somebody else's folder.
  for (const auto& line :
       {with([](Json& r) { r["fingerprint"] = 7; }), with([](Json& r) { r.erase("fingerprint"); }),
        with([](Json& r) { r = Json::array(); })})
    EXPECT_THAT(line, HasSubstr("exists already and is another run's result; --force replaces it"));
  folder.write("out/halftone.json", "{");
  EXPECT_THAT(refusal({.resume = true}), HasSubstr("--force replaces it"));
  EXPECT_EQ(run({.force = true}).fingerprint, result.fingerprint);
}

TEST_F(Unfinished, AnotherEngineIsFoundOut) {
  EXPECT_THAT(refusal({.resume = true, .blind = true}),
              HasSubstr("gives other hidden states than in the run to go on with"));
}

TEST_F(Driver, TwoProcessesDoNotShareAWorkFolder) {
  {
    const WorkFolder other(folder.context, folder.in("out"));
    const std::string line = refusal({});
    EXPECT_THAT(line, HasSubstr("error[E_IO]"));
    EXPECT_THAT(line, HasSubstr("another halftone process is working there"));
  }
  EXPECT_FALSE(exists("out.work"));  // nothing was begun
  folder.env().make_directories(folder.in("out.work"));
  folder.write("out.work/lock", "4711");  // left by a process that is gone
  run({});
  EXPECT_TRUE(exists("out"));
}

TEST_F(Driver, ForeignFilesInTheWorkFolderAreNotTouched) {
  folder.env().make_directories(folder.in("out.work"));
  folder.write("out.work/thesis.txt", "years of work");
  EXPECT_THAT(refusal({.force = true}), HasSubstr("is not a work folder: it holds \"thesis.txt\""));
  EXPECT_EQ(folder.read("out.work/thesis.txt"), "years of work");
}

TEST_F(Driver, ExistingOutputNeedsForce) {
  run({});
  const auto first = hashes("out");
  EXPECT_THAT(refusal({}), HasSubstr("exists already; --force replaces it"));
  EXPECT_TRUE(run({.resume = true}).already_complete);
  EXPECT_EQ(run({.resume = true}).layers.size(), 21u);
  EXPECT_THAT(refusal({.recipe = "{format: int8}", .resume = true}),
              HasSubstr("exists already and is another run's result"));
  EXPECT_FALSE(exists("out.work"));
  EXPECT_EQ(hashes("out"), first);
  run({.recipe = "{format: int8}", .force = true});
  EXPECT_NE(hashes("out"), first);
  EXPECT_FALSE(exists("out.work"));
}

TEST_F(Driver, BadInputIsSaidBeforeAnyWork) {
  EXPECT_THAT(refusal({.output = "model", .force = true}),
              HasSubstr("the output is the input model"));
  EXPECT_THAT(refusal({.output = ".", .force = true}),
              HasSubstr("the output folder holds the input model"));
  folder.write("file", "x");
  EXPECT_THAT(refusal({.output = "file"}), HasSubstr("exists and is not a folder"));
  write_model("nan", 2, false, [](const std::string& name, HostTensor& t) {
    if (name == "model.layers.1.mlp.up_proj.weight")
      t.as<float>()[77] = t.as<float>()[80] = std::nanf("");
  });
  EXPECT_THAT(refusal({.model = "nan"}),
              HasSubstr("tensor \"model.layers.1.mlp.up_proj.weight\" has 2 values that are not "
                        "finite, the first at index 77"));
  write_model("large", 2, false, [](const std::string& name, HostTensor& t) {
    if (name == "model.embed_tokens.weight") t.as<float>()[3] = 70000.0f;
  });
  EXPECT_THAT(
      refusal({.model = "large"}),
      HasSubstr("has values beyond f16's 65504; set dense_dtype to bf16 or f32 in the recipe"));
  EXPECT_THAT(
      refusal(
          {.recipe =
               "{format: int4_g16, rounder: feedback, calibration: {samples: 1, length: 200}}"}),
      HasSubstr("samples of 200 tokens are longer than the model's 128; use --length 128"));
  EXPECT_THAT(refusal({.change = [](QuantizeRequest& r) { r.memory_limit = 1 << 20; }}),
              HasSubstr("error[E_BUDGET] memory"));
  run({.output = "done"});
  EXPECT_THAT(refusal({.model = "done"}), HasSubstr("the model is quantized already"));
  // Several at once.
  EXPECT_THAT(
      refusal({.recipe =
                   "{format: int4_g16, rounder: feedback, calibration: {samples: 1, length: 200}}",
               .output = "done"}),
      testing::AllOf(HasSubstr("2 problems: (1) [E_USAGE] calibration"), HasSubstr("(2) [E_USAGE]"),
                     HasSubstr("exists already")));
  const auto poor = fault_env(folder.env(), [](std::string_view operation, const std::string&) {
    return operation == "create" ? EACCES : 0;
  });
  EXPECT_THAT(refusal({.env = poor.get()}),
              HasSubstr("give an -o in a folder that you may write in"));
  EXPECT_FALSE(exists("out"));
  EXPECT_FALSE(exists("out.work"));
}

TEST_F(Driver, ADeadHookIsAnError) {
  const std::string line =
      refusal({.recipe = "{format: int4_g16, rounder: {name: feedback, sweeps: 0}, calibration: "
                         "{samples: 5, length: 12}}"});
  EXPECT_THAT(line, HasSubstr("error[E_NONFINITE]"));
  EXPECT_THAT(
      line,
      HasSubstr("lost exactly what nearest rounding loses: its calibration did not reach it"));
}

TEST_F(Driver, PlanWritesNothingAndCountsWhatIsWritten) {
  const QuantizeRequest request = request_for({});
  Capabilities can;
  can.parts = &test_parts();
  can.engine = [] { return std::unique_ptr<BlockEngine>(); };
  can.calibrate = [](const CalibrationRequest&) { return CalibrationSet(); };
  can.measure_gflops = [] { return 10.0; };
  const auto before = folder.env().list(folder.path());
  const PlanReport plan = plan_quantize(request, can, folder.context);
  EXPECT_EQ(folder.env().list(folder.path()), before);
  EXPECT_EQ(plan.parameters, spec::parameter_count(request.checkpoint.spec));
  EXPECT_EQ(plan.quantized_parameters, 3 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32));
  EXPECT_DOUBLE_EQ(plan.bits_per_weight, 5.0);
  EXPECT_DOUBLE_EQ(plan.nominal_bits, 4.0);
  EXPECT_GT(plan.seconds, 0);
  EXPECT_GT(plan.peak_memory, 0u);
  ASSERT_EQ(plan.rows.size(), 2u);
  EXPECT_EQ(plan.rows[0].format, "int4_g16");
  EXPECT_EQ(plan.rows[1].format, "dense f16");
  EXPECT_EQ(plan.rows[1].parameters + plan.quantized_parameters, plan.parameters);
}

TEST_F(Driver, ATiedHeadIsWrittenOnce) {
  write_model("tied", 2, true);
  run({.model = "tied"});
  const auto source = files::open_safetensors(folder.in("out/model.safetensors"), folder.context);
  EXPECT_EQ(source->find("lm_head.weight"), nullptr);
  EXPECT_NE(source->find("model.embed_tokens.weight"), nullptr);
  EXPECT_TRUE(pack::open_model(folder.in("out"), folder.context)->checkpoint().spec.tied_head);
}

}  // namespace
}  // namespace halftone::recipe
