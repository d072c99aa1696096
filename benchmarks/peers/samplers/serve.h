// The programs' end of kernels.py: JSON lines in, JSON lines out, idle in a blocking read between.
//
//     {"what": "prepare", "case": "Q4_0", "n": 4096, "k": 11008, "m": 1, "cold_bytes": 1073741824}
//     {"what": "sample", "seconds": 0.15}
//
// A prepared product is a whole call as its program makes it: f32 [m][k] in, f32 [m][n] out, whatever
// it does to the activations included, on all its threads. All programs are timed by this one loop.
// Errors: what a request throws is answered as {"error": why}; the program goes on.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

namespace halftone::benchmark {

struct Product {
  std::string name;  // "case": what the program calls this kind of weights
  int64_t n, k, m;
  int64_t cold_bytes;  // walk through that much of weights; 0: one copy, in cache where it fits

  // Copies of weights of `bytes` that a prepared product rotates through.
  int64_t copies(int64_t bytes) const { return std::max<int64_t>(1, cold_bytes / bytes); }
};

struct Prepared {
  std::function<void(int64_t call)> run;  // call counts up: the copy of the weights to read
  nlohmann::json facts;  // "bytes" of the weights' state, and what is worth telling
};

using Prepare = std::function<Prepared(const Product&)>;

// Of both sides, so that none pays for small pages alone: 1 GiB in pages of 4 KiB is a miss of the
// TLB for every 64 lines.
inline void ask_for_large_pages(void* begin, int64_t bytes) {
  const auto first = (reinterpret_cast<uintptr_t>(begin) + 4095) / 4096 * 4096;
  const auto end =
      (reinterpret_cast<uintptr_t>(begin) + static_cast<uintptr_t>(bytes)) / 4096 * 4096;
  if (first < end) madvise(reinterpret_cast<void*>(first), end - first, MADV_HUGEPAGE);
}

// Throws unless y equals `expected` within `tolerance` of its root mean square: that the right
// product ran is known before it is timed.
inline void expect_near(const std::vector<float>& y, const std::vector<double>& expected,
                        double tolerance) {
  double error = 0, size = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    error += (y[i] - expected[i]) * (y[i] - expected[i]);
    size += expected[i] * expected[i];
  }
  if (!(error <= tolerance * tolerance * size))
    throw std::runtime_error("wrong results: relative error " +
                             std::to_string(std::sqrt(error / size)));
}

namespace serve_detail {

inline double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline long switches() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nivcsw;
}

// Tasks running or ready on the whole machine; 0 where the system does not say.
inline int64_t running_tasks() {
  static const int file = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
  char text[128] = {};
  if (file < 0 || pread(file, text, sizeof(text) - 1, 0) <= 0) return 0;
  double load[3];
  long running = 0;
  return std::sscanf(text, "%lf %lf %lf %ld/", &load[0], &load[1], &load[2], &running) == 4
             ? running
             : 0;
}

// Seconds of a call. Short calls during which the system took a core away, or something else was
// ready to run, are put aside while enough others are left. A long call cannot be kept free of them:
// there the host looks at what others took of the machine's time.
inline nlohmann::json sample(const Prepared& prepared, int64_t threads, double seconds,
                             int64_t& call) {
  constexpr double kWarm_s = 0.03, kLong_s = 0.005;
  constexpr size_t kEnough = 10;
  double start = now_s();
  do prepared.run(call++);
  while (now_s() - start < kWarm_s);
  std::vector<double> quiet, all;
  start = now_s();
  do {
    bool disturbed = running_tasks() > threads;
    const long before = switches();
    const double begin = now_s();
    prepared.run(call++);
    all.push_back(now_s() - begin);
    disturbed |= switches() != before || running_tasks() > threads;
    if (!disturbed || all.back() > kLong_s) quiet.push_back(all.back());
  } while (now_s() - start < seconds || (all.size() < 3 && all.back() < kLong_s));
  const bool busy = quiet.size() < std::min(kEnough, (all.size() + 1) / 2);
  std::vector<double>& used = busy ? all : quiet;
  const auto middle = used.begin() + static_cast<std::ptrdiff_t>(used.size() / 2);
  std::nth_element(used.begin(), middle, used.end());
  return {{"seconds", *middle},
          {"best", *std::min_element(used.begin(), used.end())},
          {"calls", used.size()},
          {"dropped", all.size() - used.size()},
          {"busy", busy}};
}

}  // namespace serve_detail

// Until stdin closes. What a library prints goes to stderr, so that stdout holds answers only.
inline int serve(int64_t threads, const Prepare& prepare) {
  std::FILE* answers = fdopen(dup(1), "w");
  dup2(2, 1);
  Prepared prepared;
  int64_t call = 0;
  for (std::string line; std::getline(std::cin, line);) {
    nlohmann::json answer;
    try {
      const auto request = nlohmann::json::parse(line);
      if (request.at("what") == "prepare") {
        prepared = {};  // gives its memory back before the next takes some
        prepared = prepare({request.at("case"), request.at("n"), request.at("k"), request.at("m"),
                            request.at("cold_bytes")});
        answer = {{"values", prepared.facts}};
      } else if (!prepared.run) {
        answer = {{"error", "nothing was prepared"}};
      } else {
        answer = {{"values", serve_detail::sample(prepared, threads, request.at("seconds"), call)}};
      }
    } catch (const std::exception& e) {
      prepared = {};
      answer = {{"error", e.what()}};
    }
    std::fprintf(answers, "%s\n", answer.dump().c_str());
    std::fflush(answers);
  }
  std::fclose(answers);
  return 0;
}

}  // namespace halftone::benchmark
