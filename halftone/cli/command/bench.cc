// halftone bench: how fast a model reads and writes here. Random token ids, medians over repeats.
#include <algorithm>
#include <chrono>

#include "halftone/base/memory.h"
#include "halftone/base/rng.h"
#include "halftone/cli/model_options.h"
#include "halftone/cli/session.h"
#include "halftone/kernel/isa.h"
#include "halftone/runtime/session.h"

namespace halftone::cli {
namespace {

struct Options {
  std::string model;
  int64_t prefill = 512, decode = 128, repeat = 3;
  ModelOptions load;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  return x.size() % 2 ? x[x.size() / 2] : 0.5 * (x[x.size() / 2 - 1] + x[x.size() / 2]);
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
  runtime::Session sequence(loaded.model, {.max_tokens = std::max(prefill, decode + 1)}, context);
  std::vector<double> prefill_s, decode_s;
  const double total = static_cast<double>((options.repeat + 1) * (prefill + 8 * decode));
  double done = 0;
  for (int64_t r = -1; r < options.repeat; ++r) {  // the first round warms up
    context.throw_if_stopped();
    sequence.reset();
    auto start = std::chrono::steady_clock::now();
    sequence.feed(std::span<const int32_t>(ids).first(static_cast<size_t>(prefill)));
    if (r >= 0) prefill_s.push_back(seconds_since(start));
    context.progress(
        {"bench", loaded.model->label(), done += static_cast<double>(prefill), total, ""});
    sequence.reset();
    sequence.feed(std::span<const int32_t>(ids).first(1));
    start = std::chrono::steady_clock::now();
    for (int64_t i = 0; i < decode; ++i)
      sequence.feed(std::span<const int32_t>(ids).subspan(static_cast<size_t>(i), 1));
    if (r >= 0) decode_s.push_back(seconds_since(start));
    context.progress(
        {"bench", loaded.model->label(), done += static_cast<double>(8 * decode), total, ""});
  }
  const double prefill_rate = static_cast<double>(prefill) / median(prefill_s),
               decode_rate = static_cast<double>(decode) / median(decode_s);
  const Json result = {
      {"model", options.model},
      {"mode", options.load.mode},
      {"activation_block",
       options.load.activation_block.empty() ? Json() : Json(options.load.activation_block)},
      {"kv", runtime::kv_type_name(loaded.model->kv_type())},
      {"head_bits", options.load.head_bits == 0 ? Json() : Json(options.load.head_bits)},
      {"prefill", {{"tokens", prefill}, {"tok_s", prefill_rate}}},
      {"decode", {{"tokens", decode}, {"tok_s", decode_rate}}},
      {"load_ms", loaded.load_ms},
      {"peak_rss_bytes", peak_rss_bytes()},
      {"weight_bytes", loaded.packed->weight_bytes()},
      {"bits_per_weight", loaded.packed->bits_per_weight()},
      {"threads", context.threads},
      {"isa", loaded.model->isa()},
      {"cpu", kernel::cpu_name()}};
  session.print(result, [&] {
    Terminal& t = session.terminal;
    t.out(loaded.model->label() + ", " + std::to_string(context.threads) + " threads, " +
          std::string(loaded.model->isa()) + ", " + kernel::cpu_name());
    t.out("  prefill  " + significant(prefill_rate) + " tok/s  (" + std::to_string(prefill) +
          " tokens)");
    t.out("  decode   " + significant(decode_rate) + " tok/s  (" + std::to_string(decode) +
          " tokens)");
    t.out("  load     " + significant(loaded.load_ms) + " ms");
    t.out("  memory   " + bytes_text(static_cast<double>(peak_rss_bytes())) + " peak");
  });
  return 0;
}

}  // namespace

Command bench() {
  return {.summary = "measure prefill and decode speed, load time and memory",
          .examples =
              "  halftone bench smollm2\n  halftone bench out/gptq4 --threads 1 --prefill 512 "
              "--decode 128 --json",
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
            options->load.declare(app, "int8");
            session.add_threads(app);
            session.add_json(app);
            session.add_quiet(app);
            return [options, &session] { return bench_model(session, *options); };
          }};
}

}  // namespace halftone::cli
