// What the driver's tests share: a toy engine, an environment that dies at any operation, and runs
// on a toy model.
#pragma once

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
#include "halftone/recipe/driver.h"
#include "halftone/recipe/library.h"
#include "halftone/recipe/test_parts.h"
#include "halftone/recipe/work_folder.h"
#include "halftone/recipe/yaml.h"

namespace halftone::recipe {

using files::testing_files::line_of;
using files::testing_files::TempFolder;
using testing::HasSubstr;

// Hundreds of runs that sync every file: in memory where that is possible.
inline const bool kInMemory = [] {
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
    can.engine = [&](uint64_t) {
      return std::make_unique<ToyEngine>(request.checkpoint, pool, s.blind);
    };
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

}  // namespace halftone::recipe
