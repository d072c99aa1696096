// The runtime and nothing else, as a program: what it links and how fast it starts are tested on it
// (lean_test.cc), and it times a model.
//
//   runtime_probe                          prints the instruction set and ends
//   runtime_probe MODEL [exact|int8] [threads] [prompt tokens] [new tokens] [bits group]
// With bits, a dense model is rounded to nearest while it is loaded. Rates by wall clock and, for
// machines that are shared, by the CPU time of all threads.

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/memory.h"
#include "halftone/base/threads.h"
#include "halftone/kernel/isa.h"
#include "halftone/kernel/kernels.h"
#include "halftone/runtime/generate.h"
#include "halftone/runtime/test_quantized.h"

namespace {

using namespace halftone;

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double cpu_s() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

int probe(const std::vector<std::string>& args) {
  const auto number = [&](size_t i, int64_t fallback) {
    return i < args.size() ? std::strtoll(args[i].c_str(), nullptr, 10) : fallback;
  };
  const int64_t threads = number(2, usable_cores()), prompt_tokens = number(3, 512),
                new_tokens = number(4, 64);
  const auto env = posix_env();
  ThreadPool pool(threads);
  Context context;
  context.env = env.get();
  context.pool = &pool;
  context.threads = threads;
  context.log = [](Level, std::string_view text) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(text.size()), text.data());
  };
  const double start = now_s();
  std::shared_ptr<const pack::PackedModel> packed = pack::open_model(args[0], context);
  if (args.size() > 5) {
    format::Format format;
    format.bits = number(5, 4);
    format.group = number(6, 64);
    packed = std::make_shared<runtime::testing::Quantized>(packed, format, false);
  }
  const auto model = runtime::Model::load(
      packed,
      {.numerics = args.size() > 1 ? runtime::numerics_from(args[1]) : runtime::Numerics::exact},
      context);
  const double load_s = now_s() - start;
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < prompt_tokens; ++i)
    prompt.push_back(static_cast<int32_t>((i * 7919 + 13) % model->vocabulary()));
  runtime::Session session(model, {}, context);
  session.feed(std::span(prompt).first(1));  // buffers and caches are there
  session.reset();
  double first_cpu = 0;
  const double start_cpu = cpu_s();
  const auto out = runtime::generate(session, prompt, {.max_new_tokens = new_tokens}, [&](int32_t) {
    if (first_cpu == 0) first_cpu = cpu_s();
    return true;
  });
  const double end_cpu = cpu_s();
  const auto& m = model->memory();
  std::printf(
      "{\"isa\": \"%s\", \"threads\": %lld, \"numerics\": \"%s\", \"load_ms\": %.1f, \"prefill\": "
      "{\"tokens\": %lld, \"tok_s\": %.1f, \"tok_cpu_s\": %.1f}, "
      "\"decode\": {\"tokens\": %lld, \"tok_s\": %.2f, \"tok_cpu_s\": %.2f}, \"weights_bytes\": "
      "%llu, \"tables_bytes\": %llu, \"mapped_bytes\": %llu, "
      "\"cache_bytes\": %llu, \"scratch_bytes\": %llu, \"peak_rss_bytes\": %lld}\n",
      std::string(model->isa()).c_str(), static_cast<long long>(threads),
      std::string(runtime::numerics_name(model->options().numerics)).c_str(), load_s * 1e3,
      static_cast<long long>(out.prompt_tokens), out.prefill_tok_s(),
      static_cast<double>(out.prompt_tokens) / (first_cpu - start_cpu),
      static_cast<long long>(out.decoded), out.decode_tok_s(),
      static_cast<double>(out.decoded) / (end_cpu - first_cpu),
      static_cast<unsigned long long>(m.weights), static_cast<unsigned long long>(m.tables),
      static_cast<unsigned long long>(m.mapped),
      static_cast<unsigned long long>(session.cache_bytes()),
      static_cast<unsigned long long>(session.scratch_bytes()),
      static_cast<long long>(peak_rss_bytes()));
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    const std::vector<std::string> args(arguments + 1, arguments + count);
    if (!args.empty()) return probe(args);
    std::printf("%s\n", halftone::kernel::best_kernels().name);
    return 0;
  } catch (const halftone::Error& e) {
    std::fprintf(stderr, "%s\n", e.line().c_str());
    return static_cast<int>(e.exit());
  }
}
