// limits [--threads 1,2] [--seconds 1] [--json]
//
// What this machine can do at most, by instruction set and number of threads: reading memory with one
// and with four streams a thread, reading the last-level cache, multiply-adds of int8, of what
// 8-bit codes run on, and of f32. Every figure of docs/performance.md is a share of one of these.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "benchmarks/limits/limits.h"
#include "benchmarks/limits/sampling.h"
#include "halftone/base/error.h"

namespace halftone::benchmark {
namespace {

constexpr int64_t kArenaBytes = int64_t{1} << 30;  // more than any last-level cache of today
constexpr int64_t kSampleBytes = int64_t{8} << 20;
constexpr int64_t kRounds = 40'000;

struct Options {
  std::vector<int64_t> threads = {1, 2};
  double seconds = 1;
  bool json = false;
};

struct Row {
  std::string what, unit;
  Rates rates;
};

int64_t last_level_bytes() {
  const long l3 = sysconf(_SC_LEVEL3_CACHE_SIZE), l2 = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return std::max<int64_t>(l3 > 0 ? l3 : l2, 1 << 20);
}

// Worker w reads its part of sample i's piece of the first `bytes` of the arena.
Job reader(const Limits& limits, const Arena& arena, int64_t bytes, int64_t streams,
           std::atomic<uint64_t>& sink) {
  const int64_t piece = std::min(kSampleBytes, bytes), pieces = bytes / piece;
  return
      [&limits, &arena, &sink, piece, pieces, streams](int64_t i, int64_t worker, int64_t workers) {
        const int64_t part = piece / workers / streams / 256 * 256;
        const uint8_t* from = arena.data() + i % pieces * piece + worker * streams * part;
        if (streams == 1) {
          sink += limits.read1(from, part);
        } else {
          const uint8_t* four[4] = {from, from + part, from + 2 * part, from + 3 * part};
          sink += limits.read4(four, part);
        }
      };
}

std::vector<Row> measure(kernel::Isa isa, int64_t threads, double seconds, const Arena& arena) {
  const Limits& limits = limits_for(isa);
  ThreadPool pool(threads);
  pin(pool);
  std::atomic<uint64_t> sink{0};
  // Half of the last level: the other half belongs to whoever else runs.
  const int64_t cached = std::min(last_level_bytes() / 2, kArenaBytes);
  std::vector<std::string> names;
  std::vector<std::string> units;
  std::vector<Timed> jobs;
  const auto add = [&](const char* name, const char* unit, Job job, double work) {
    names.emplace_back(name);
    units.emplace_back(unit);
    jobs.push_back({std::move(job), work * 1e-9});
  };
  const auto part = [&](int64_t bytes, int64_t streams) {
    const int64_t each = std::min(kSampleBytes, bytes) / threads / streams / 256 * 256;
    return static_cast<double>(each * streams * threads);
  };
  add("memory, 1 stream", "GB/s", reader(limits, arena, arena.size(), 1, sink),
      part(arena.size(), 1));
  add("memory, 4 streams", "GB/s", reader(limits, arena, arena.size(), 4, sink),
      part(arena.size(), 4));
  const std::pair<const char*, const Limits::Peak*> peaks[] = {
      {"int8", &limits.int8}, {"8-bit codes", &limits.wide}, {"f32", &limits.f32}};
  for (const auto& [name, peak] : peaks)
    add(
        name, "GOP/s", [loop = peak](int64_t, int64_t, int64_t) { loop->run(kRounds); },
        static_cast<double>(kRounds * peak->operations * threads));
  std::vector<Row> rows;
  const std::vector<Rates> rates = alternate(pool, seconds, jobs);
  for (size_t i = 0; i < rates.size(); ++i) rows.push_back({names[i], units[i], rates[i]});
  // Alone: what the others read would push it out.
  const Job cache = reader(limits, arena, cached, 4, sink);
  rows.insert(rows.begin() + 2, {"last-level cache, 4 streams", "GB/s",
                                 alternate(pool, seconds, {{cache, part(cached, 4) * 1e-9}})[0]});
  return rows;
}

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--json") {
      options.json = true;
      continue;
    }
    if (i + 1 >= argc || (flag != "--threads" && flag != "--seconds"))
      throw InputError(flag, "is not understood", "limits [--threads 1,2] [--seconds 1] [--json]");
    const std::string value = argv[++i];
    if (flag == "--seconds") {
      options.seconds = std::strtod(value.c_str(), nullptr);
      continue;
    }
    options.threads.clear();
    for (const char* at = value.c_str(); *at != '\0';) {
      char* end = nullptr;
      options.threads.push_back(std::strtol(at, &end, 10));
      if (end == at || options.threads.back() < 1)
        throw InputError(flag, "is \"" + value + "\"", "write numbers of threads, as in 1,2");
      at = *end == ',' ? end + 1 : end;
    }
  }
  return options;
}

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
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
      for (const Row& row : measure(isa, threads, options.seconds, arena)) {
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
  return 0;
}

}  // namespace
}  // namespace halftone::benchmark

int main(int argc, char** argv) {
  try {
    return halftone::benchmark::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "limits: %s\n", e.what());
    return 2;
  }
}
