// limits [--threads 1,2] [--seconds 1] [--json]
//
// What this machine can do at most, by instruction set and number of threads: reading memory with one
// and with four streams a thread, reading the last-level cache, multiply-adds of int8, of what
// 8-bit codes run on, and of f32. Every figure of docs/performance.md is a share of one of these.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "benchmarks/limits/limits.h"
#include "benchmarks/limits/sampling.h"

namespace halftone::benchmark {
namespace {

constexpr int64_t kArenaBytes = int64_t{1} << 30;
constexpr int64_t kSampleBytes = int64_t{8} << 20;
constexpr int64_t kRounds = 40'000;

struct Options {
  std::vector<int64_t> threads = {1, 2};
  double seconds = 1;
  bool json = false;
};

struct Measured {
  std::string what, unit;
  Timed timed;
  Rates rates = {};
};

int64_t last_level_bytes() {
  const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return std::max<int64_t>(l3 > 0 ? l3 : l2, 1 << 20);
}

// Walks over `bytes` from `memory`, 8 MiB a sample, each worker its part of it.
Measured reading(std::string what, const Limits& limits, const uint8_t* memory, int64_t bytes,
                 int64_t streams, int64_t threads, std::atomic<uint64_t>& sink) {
  const int64_t piece = std::min(kSampleBytes, bytes), pieces = bytes / piece,
                part = piece / threads / streams / 256 * 256;
  const auto job = [=, &limits, &sink](int64_t i, int64_t worker, int64_t) {
    const uint8_t* from = memory + i % pieces * piece + worker * streams * part;
    if (streams == 1) {
      sink += limits.read1(from, part);
    } else {
      const uint8_t* four[4] = {from, from + part, from + 2 * part, from + 3 * part};
      sink += limits.read4(four, part);
    }
  };
  return {std::move(what), "GB/s", {job, static_cast<double>(part * streams * threads) * 1e-9}};
}

Measured computing(std::string what, const Limits::Peak& peak, int64_t threads) {
  return {std::move(what),
          "GOP/s",
          {[&peak](int64_t, int64_t, int64_t) { peak.run(kRounds); },
           static_cast<double>(kRounds * peak.operations * threads) * 1e-9}};
}

void measure(ThreadPool& pool, double seconds, std::vector<Measured>& rows) {
  std::vector<Timed> jobs;
  for (const Measured& row : rows) jobs.push_back(row.timed);
  const std::vector<Rates> rates = alternate(pool, seconds, jobs);
  for (size_t i = 0; i < rows.size(); ++i) rows[i].rates = rates[i];
}

std::vector<Measured> measure(kernel::Isa isa, int64_t threads, double seconds,
                              const Arena& arena) {
  const Limits& limits = limits_for(isa);
  ThreadPool pool(threads);
  pin(pool);
  std::atomic<uint64_t> sink{0};
  // Each in a half of its own: the second would find in the cache what the first has just read.
  const int64_t half = arena.size() / 2;
  std::vector<Measured> rows = {
      reading("memory, 1 stream", limits, arena.data(), half, 1, threads, sink),
      reading("memory, 4 streams", limits, arena.data() + half, half, 4, threads, sink),
      computing("int8", limits.int8, threads), computing("8-bit codes", limits.wide, threads),
      computing("f32", limits.f32, threads)};
  measure(pool, seconds, rows);
  // Alone, because what the others read would push it out. Half of the last level: the other half
  // belongs to whoever else runs.
  std::vector<Measured> cache = {reading("last-level cache, 4 streams", limits, arena.data(),
                                         std::min(last_level_bytes() / 2, arena.size()), 4, threads,
                                         sink)};
  measure(pool, seconds, cache);
  rows.insert(rows.begin() + 2, cache[0]);
  return rows;
}

void run(const Options& options) {
  Arena arena(kArenaBytes);
  arena.touch();
  nlohmann::ordered_json out = {{"cpu", kernel::cpu_name()},
                                {"flags", kernel::cpu_flags()},
                                {"cores", usable_cores()},
                                {"last_level_bytes", last_level_bytes()},
                                {"limits", nlohmann::ordered_json::array()}};
  if (!options.json)
    std::printf("cpu: %s, %ld cores usable\nflags: %s\nlast-level cache: %.1f MB\n\n",
                kernel::cpu_name().c_str(), static_cast<long>(usable_cores()),
                kernel::cpu_flags().c_str(), static_cast<double>(last_level_bytes()) * 1e-6);
  for (const kernel::Isa isa : kernel::usable_isas()) {
    if (isa == kernel::Isa::scalar) continue;
    const std::string name(kernel::isa_name(isa));
    for (const int64_t threads : options.threads)
      for (const Measured& row : measure(isa, threads, options.seconds, arena)) {
        const Rates& r = row.rates;
        if (options.json)
          out["limits"].push_back({{"isa", name},
                                   {"threads", threads},
                                   {"what", row.what},
                                   {"unit", row.unit},
                                   {"median", r.median},
                                   {"best", r.best},
                                   {"samples", r.samples},
                                   {"dropped", r.dropped},
                                   {"busy", r.busy}});
        else
          std::printf(
              "%-11s %2ld threads  %-28s %8.1f %-5s (best %.1f; %ld samples, %ld dropped)%s\n",
              name.c_str(), static_cast<long>(threads), row.what.c_str(), r.median,
              row.unit.c_str(), r.best, static_cast<long>(r.samples), static_cast<long>(r.dropped),
              r.busy ? " busy" : "");
        std::fflush(stdout);
      }
  }
  if (options.json) std::printf("%s\n", out.dump(1).c_str());
}

}  // namespace
}  // namespace halftone::benchmark

int main(int argc, char** argv) {
  try {
    CLI::App app("What this machine can do at most: reading memory and cache, multiply-adds.",
                 "limits");
    halftone::benchmark::Options options;
    app.add_option("--threads", options.threads, "numbers of threads (default 1,2)")
        ->delimiter(',')
        ->check(CLI::Range(int64_t{1}, int64_t{1024}));
    app.add_option("--seconds", options.seconds, "for each group of figures (default 1)")
        ->check(CLI::Range(0.01, 1e4));
    app.add_flag("--json", options.json, "print the result as JSON");
    CLI11_PARSE(app, argc, argv);
    halftone::benchmark::run(options);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "limits: %s\n", e.what());
    return 1;
  }
}
