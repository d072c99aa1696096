// Calibration forward of blocks with SmolLM2's and LLaMA-7B's dimensions (random weights): tokens a
// second, share of the measured matrix-multiplication peak, memory.
//
//   bin/calib_bench [--benchmark_filter=smollm2]
#include <benchmark/benchmark.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"
#include "halftone/calib/torch_engine.h"
#include "halftone/linalg/linalg.h"
#include "halftone/spec/family.h"

namespace halftone::calib {
namespace {

// Tensors made when they are read, as from a disk that is never slow.
class RandomTensors final : public files::TensorSource {
 public:
  explicit RandomTensors(const spec::ModelSpec& spec) {
    for (const spec::TensorRef& ref : spec::tensors(spec))
      infos_.push_back({.name = ref.name, .shape = ref.shape, .stored_as = "f32"});
    std::sort(infos_.begin(), infos_.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
  }
  const std::vector<files::TensorInfo>& tensors() const override { return infos_; }
  const files::TensorInfo* find(const std::string& name) const override {
    for (const auto& info : infos_)
      if (info.name == name) return &info;
    return nullptr;
  }
  HostTensor read(const std::string& name) const override { return filled(find(name)->shape, 1); }
  HostTensor read_rows(const std::string& name, int64_t begin, int64_t end) const override {
    Shape shape = find(name)->shape;
    shape[0] = end - begin;
    return filled(shape, static_cast<uint32_t>(begin));
  }
  std::span<const std::byte> mapped(const std::string&) const override { return {}; }

 private:
  // Uniform with the variance that keeps activations of size one.
  static HostTensor filled(const Shape& shape, uint32_t seed) {
    HostTensor t(DType::f32, shape);
    uint32_t state = seed * 2654435761u + 1;
    const float scale = shape.size() == 2 ? std::sqrt(3.0f / static_cast<float>(shape[1])) : 1.0f;
    for (float& x : t.as<float>()) {
      state = state * 1664525u + 1013904223u;
      x = (static_cast<float>(state >> 8) * 0x1p-23f - 1) * scale;
    }
    return t;
  }
  std::vector<files::TensorInfo> infos_;
};

Json config_of(const std::string& model) {
  const auto llama = [](int width, int inner, int heads, int kv_heads, int vocabulary) {
    return Json{{"model_type", "llama"},
                {"hidden_act", "silu"},
                {"hidden_size", width},
                {"intermediate_size", inner},
                {"num_hidden_layers", 1},
                {"num_attention_heads", heads},
                {"num_key_value_heads", kv_heads},
                {"vocab_size", vocabulary},
                {"max_position_embeddings", 4096},
                {"rms_norm_eps", 1e-5},
                {"rope_theta", 10000.0}};
  };
  return model == "smollm2" ? llama(576, 1536, 9, 3, 49152) : llama(4096, 11008, 32, 32, 32000);
}

void block(benchmark::State& state, const std::string& model, bool hessians) {
  const auto tokens = state.range(0), threads = state.range(1), samples = threads * 2;
  Context context;
  const auto env = posix_env();
  ThreadPool pool(threads);
  context.env = env.get();
  context.pool = &pool;
  context.threads = threads;
  spec::Checkpoint checkpoint;
  checkpoint.config = config_of(model);
  checkpoint.spec =
      spec::family_for(checkpoint.config, model).entry.assemble(checkpoint.config, model);
  checkpoint.tensors = std::make_shared<RandomTensors>(checkpoint.spec);
  const auto engine = torch_engine(checkpoint, context);
  std::vector<Matrix<float>> hidden;
  for (int64_t i = 0; i < samples; ++i) {
    std::vector<int32_t> ids(static_cast<size_t>(tokens));
    for (int64_t t = 0; t < tokens; ++t)
      ids[static_cast<size_t>(t)] = static_cast<int32_t>((t * 31 + i) % 512);
    hidden.push_back(engine->embed(ids));
  }
  engine->load(checkpoint.spec.blocks[0]);
  std::map<std::string, std::set<recipe::Need>> observe;
  if (hessians)
    for (const spec::LinearRef& ref : spec::linears(checkpoint.spec))
      if (ref.segment == 0) observe[ref.op->name] = {recipe::Need::input_hessian};
  for (auto _ : state)
    engine->run_block(
        samples, [&](int64_t i) { return hidden[static_cast<size_t>(i)]; },
        [](int64_t, const Matrix<float>&) {}, observe);
  const double work =
      spec::multiply_adds(checkpoint.spec.blocks[0]) +
      static_cast<double>(checkpoint.spec.width * tokens);  // causal scores: T/2 keys, twice
  const double all = static_cast<double>(tokens * samples);
  state.counters["tok/s"] = benchmark::Counter(all, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["GFLOP/s"] =
      benchmark::Counter(2e-9 * work * all, benchmark::Counter::kIsIterationInvariantRate);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  state.counters["peak_MB"] = static_cast<double>(usage.ru_maxrss) / 1024;
}

}  // namespace
}  // namespace halftone::calib

int main(int argc, char** argv) {
  using halftone::calib::block;
  std::printf("sgemm, one thread: %.0f GFLOP/s (%s)\n",
              halftone::linalg::measure_sgemm_gflops(2048),
              halftone::linalg::numeric_path().c_str());
  for (const std::string model : {"smollm2", "llama7b"})
    for (const bool hessians : {false, true})
      benchmark::RegisterBenchmark((model + (hessians ? "/forward+hessians" : "/forward")).c_str(),
                                   block, model, hessians)
          ->ArgNames({"tokens", "threads"})
          ->ArgsProduct({{512, 2048}, {1, 2}})
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
