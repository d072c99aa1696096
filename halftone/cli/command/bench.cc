// halftone bench: how fast a model reads and writes here. Random token ids, medians over repeats.
#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>

#include "halftone/base/memory.h"
#include "halftone/base/rng.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/session.h"
#include "halftone/eval/energy.h"
#include "halftone/kernel/isa.h"
#include "halftone/pack/compression.h"
#include "halftone/pack/dense_copy.h"
#include "halftone/runtime/session.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model;
  int64_t prefill = 512, decode = 128, repeat = 3;
  bool speedup = false;
  ModelOptions load;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x.size() % 2 ? x[x.size() / 2] : 0.5 * (x[x.size() / 2 - 1] + x[x.size() / 2]);
}

// One model's rounds: the same ids for every model, so that none has an easier text.
class Rounds {
 public:
  Rounds(std::shared_ptr<const runtime::Model> model, std::span<const int32_t> ids, int64_t prefill,
         int64_t decode, const Context& context)
      : sequence_(std::move(model), {.max_tokens = std::max(prefill, decode + 1)}, context),
        ids_(ids),
        prefill_(prefill),
        decode_(decode) {}

  // The first warms up and counts for nothing. `done` after each half.
  void go(bool counts, eval::EnergyMeter* meter, const std::function<void(double work)>& done) {
    const auto timed = [&](std::vector<double>& seconds, double& joules, const auto& work) {
      const double before = meter != nullptr ? meter->joules() : 0;
      const auto start = std::chrono::steady_clock::now();
      work();
      if (!counts) return;
      seconds.push_back(seconds_since(start));
      joules += meter != nullptr ? meter->joules() - before : 0;
    };
    sequence_.reset();
    timed(prefill_s_, prefill_j_,
          [&] { sequence_.feed(ids_.first(static_cast<size_t>(prefill_))); });
    done(static_cast<double>(prefill_));
    sequence_.reset();
    sequence_.feed(ids_.first(1));
    timed(decode_s_, decode_j_, [&] {
      for (int64_t i = 0; i < decode_; ++i) sequence_.feed(ids_.subspan(static_cast<size_t>(i), 1));
    });
    done(static_cast<double>(8 * decode_));
  }

  double prefill_rate() const { return static_cast<double>(prefill_) / median(prefill_s_); }
  double decode_rate() const { return static_cast<double>(decode_) / median(decode_s_); }
  // Joules a token above what the idle machine takes.
  double prefill_joules(double idle_w) const {
    return above_idle(prefill_j_, prefill_s_, idle_w, prefill_);
  }
  double decode_joules(double idle_w) const {
    return above_idle(decode_j_, decode_s_, idle_w, decode_);
  }

 private:
  static double above_idle(double joules, const std::vector<double>& seconds, double idle_w,
                           int64_t tokens) {
    const double time = std::accumulate(seconds.begin(), seconds.end(), 0.0);
    return std::max(0.0, joules - idle_w * time) /
           static_cast<double>(tokens * std::ssize(seconds));
  }
  runtime::Session sequence_;
  std::span<const int32_t> ids_;
  int64_t prefill_, decode_;
  std::vector<double> prefill_s_, decode_s_;
  double prefill_j_ = 0, decode_j_ = 0;
};

double idle_watts(eval::EnergyMeter& meter) {
  const double before = meter.joules();
  const auto start = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  return (meter.joules() - before) / seconds_since(start);
}

Json measured_energy(const Rounds& rounds, double idle_w) {
  return {{"source", "RAPL, all packages, idle subtracted"},
          {"idle_w", idle_w},
          {"prefill_j_per_token", rounds.prefill_joules(idle_w)},
          {"decode_j_per_token", rounds.decode_joules(idle_w)}};
}

Json modelled_energy(const LoadedModel& loaded, int64_t prefill) {
  std::vector<eval::MacsOf> macs;
  for (const auto& ref : spec::linears(loaded.model->spec())) {
    const auto* format = loaded.packed->plan().find(ref.op->name, format::Port::weight);
    const bool whole =
        format != nullptr && loaded.model->options().numerics != runtime::Numerics::exact;
    macs.push_back({static_cast<double>(ref.linear().in) * static_cast<double>(ref.linear().out),
                    whole ? format->bits : 32, whole ? 8 : 32});
  }
  const auto bytes = static_cast<double>(loaded.model->memory().weights);
  return {{"source", "model (45 nm arithmetic and DRAM, no caches)"},
          {"idle_w", nullptr},
          {"prefill_j_per_token", eval::modelled_joules_per_token(macs, bytes, prefill)},
          {"decode_j_per_token", eval::modelled_joules_per_token(macs, bytes, 1)}};
}

int bench_model(Session& session, const Options& options) {
  const Context& context = session.start();
  const LoadedModel loaded = load_model(options.model, options.load, context);
  const int64_t vocabulary = loaded.model->vocabulary();
  const int64_t longest = loaded.model->context_length();
  const int64_t prefill = std::min(options.prefill, longest),
                decode = std::min(options.decode, longest - 1);
  if (prefill < options.prefill || decode < options.decode)
    context.warn("the model's context is " + std::to_string(longest) + " tokens: measuring " +
                 std::to_string(prefill) + " of prefill, " + std::to_string(decode) + " of decode");
  const CounterRng rng(1);
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < std::max(prefill, decode); ++i)
    ids.push_back(static_cast<int32_t>(rng.u32(static_cast<uint64_t>(i)) %
                                       static_cast<uint32_t>(vocabulary)));
  auto meter = eval::EnergyMeter::open();
  const double idle_w = meter ? idle_watts(*meter) : 0;
  const std::vector<std::pair<const char*, DType>> baselines =
      options.speedup
          ? std::vector<std::pair<const char*, DType>>{{"f32", DType::f32}, {"bf16", DType::bf16}}
          : std::vector<std::pair<const char*, DType>>{};
  const double total = static_cast<double>((options.repeat + 1) * (prefill + 8 * decode)) *
                       static_cast<double>(1 + baselines.size());
  double done = 0;
  const auto progress = [&](double work) {
    context.progress({"bench", loaded.model->label(), done += work, total, ""});
  };
  Rounds own(loaded.model, ids, prefill, decode, context);
  own.go(false, nullptr, progress);
  const uint64_t peak = peak_rss_bytes();  // of this model alone
  // The same weights in floats, in the same engine, round by round beside it.
  std::vector<std::unique_ptr<Rounds>> others;
  runtime::LoadOptions floats = loaded.model->options();
  floats.tile_cache.clear();  // it holds the tiles of the model in that folder, by name
  for (const auto& [name, dtype] : baselines) {
    others.push_back(std::make_unique<Rounds>(
        runtime::Model::load(pack::dense_copy(loaded.packed, dtype), floats, context), ids, prefill,
        decode, context));
    others.back()->go(false, nullptr, progress);
  }
  for (int64_t r = 0; r < options.repeat; ++r) {
    context.throw_if_stopped();
    own.go(true, meter ? &*meter : nullptr, progress);
    for (const auto& other : others) other->go(true, nullptr, progress);
  }
  const double prefill_rate = own.prefill_rate(), decode_rate = own.decode_rate();
  const pack::Compression bits = pack::compression(*loaded.packed);
  Json result = {
      {"model", options.model},
      {"mode", options.load.mode},
      {"activation_block",
       options.load.activation_block.empty() ? Json() : Json(options.load.activation_block)},
      {"kv", runtime::kv_type_name(loaded.model->kv_type())},
      {"head_bits", options.load.head_bits == 0 ? Json() : Json(options.load.head_bits)},
      {"prefill", {{"tokens", prefill}, {"tok_s", prefill_rate}}},
      {"decode", {{"tokens", decode}, {"tok_s", decode_rate}}},
      {"load_ms", loaded.load_ms},
      {"peak_rss_bytes", peak},
      {"weight_bytes", loaded.packed->weight_bytes()},
      {"bits_per_weight", loaded.packed->bits_per_weight()},
      {"nominal_bits", bits.nominal},
      {"layer_mean_bits", bits.layer_mean},
      {"ratio_to_f32",
       {{"nominal", pack::ratio_to_f32(bits.nominal)},
        {"effective", pack::ratio_to_f32(bits.effective)},
        {"layer_mean", pack::ratio_to_f32(bits.layer_mean)}}},
      {"energy", meter ? measured_energy(own, idle_w) : modelled_energy(loaded, prefill)},
      {"threads", context.threads},
      {"isa", loaded.model->isa()},
      {"cpu", kernel::cpu_name()}};
  for (size_t i = 0; i < others.size(); ++i)
    result["speedup"][baselines[i].first] = {{"prefill_tok_s", others[i]->prefill_rate()},
                                             {"decode_tok_s", others[i]->decode_rate()},
                                             {"prefill", prefill_rate / others[i]->prefill_rate()},
                                             {"decode", decode_rate / others[i]->decode_rate()}};
  session.print(result, [&] {
    Terminal& t = session.terminal;
    t.out(loaded.model->label() + ", " + std::to_string(context.threads) + " threads, " +
          std::string(loaded.model->isa()) + ", " + kernel::cpu_name());
    t.out("  prefill  " + significant(prefill_rate) + " tok/s  (" + std::to_string(prefill) +
          " tokens)");
    t.out("  decode   " + significant(decode_rate) + " tok/s  (" + std::to_string(decode) +
          " tokens)");
    for (size_t i = 0; i < others.size(); ++i)
      t.out("  " + std::string(i == 0 ? "against" : "       ") + "  the same weights in " +
            baselines[i].first + ": prefill " + fixed(prefill_rate / others[i]->prefill_rate(), 2) +
            "x, decode " + fixed(decode_rate / others[i]->decode_rate(), 2) + "x");
    t.out("  load     " + significant(loaded.load_ms) + " ms");
    t.out("  memory   " + bytes_text(static_cast<double>(peak)) + " peak");
    const Json& energy = result["energy"];
    t.out("  energy   " + significant(1e3 * energy["decode_j_per_token"].get<double>()) +
          " mJ a token of decode, " +
          significant(1e3 * energy["prefill_j_per_token"].get<double>()) +
          " of prefill: " + energy["source"].get<std::string>());
    const auto against = [](double b) {
      return significant(b) + " (f32 / " + fixed(pack::ratio_to_f32(b), 2) + ")";
    };
    t.out("  bits     nominal " + against(bits.nominal) + ", effective " + against(bits.effective) +
          ", mean of linears " + against(bits.layer_mean));
  });
  return 0;
}

}  // namespace

Command bench() {
  return {
      .summary = "what a model costs: prefill and decode speed, load time, memory, energy, bits",
      .examples =
          "  halftone bench smollm2\n  halftone bench out/gptq4 --threads 1 --prefill 512 "
          "--decode 128 --json\n  halftone bench out/gptq4 --speedup     (against f32 and bf16)",
      .declare = [](CLI::App& app, Session& session) -> std::function<int()> {
        auto options = std::make_shared<Options>();
        app.add_option("MODEL", options->model,
                       "a folder, a .gguf, a hub name in the local cache, smollm2")
            ->required();
        app.add_option("--prefill", options->prefill, "tokens read at once (default 512)")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
        app.add_option("--decode", options->decode, "tokens written one by one (default 128)")
            ->check(CLI::Range(int64_t{1}, int64_t{1} << 31));
        app.add_option("--repeat", options->repeat, "rounds; the median is printed (default 3)")
            ->check(CLI::Range(1, 1000));
        app.add_flag("--speedup", options->speedup,
                     "also time the same weights in f32 and in bf16 in this engine, round by "
                     "round");
        options->load.declare(app, "int8");
        session.add_threads(app);
        session.add_json(app);
        session.add_quiet(app);
        return [options, &session] { return bench_model(session, *options); };
      }};
}

}  // namespace halftone::cli
