#include "benchmarks/limits/sampling.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <new>

namespace halftone::benchmark {
namespace {

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

long switches() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

// Tasks running or ready on the whole machine, this one included; 1 where the system does not say.
int64_t running_tasks() {
  static const int file = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
  char text[128] = {};
  if (file < 0 || pread(file, text, sizeof(text) - 1, 0) <= 0) return 1;
  double load[3];
  long running = 1;
  return std::sscanf(text, "%lf %lf %lf %ld/", &load[0], &load[1], &load[2], &running) == 4
             ? running
             : 1;
}

// Cores this process was given. Asked once: a pinned thread sees its own core only, and so do the
// threads that it starts.
const std::vector<size_t>& given_cores() {
  static const std::vector<size_t> cores = [] {
    std::vector<size_t> out;
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) return out;
    for (size_t i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &allowed)) out.push_back(i);
    return out;
  }();
  return cores;
}

}  // namespace

Arena::Arena(int64_t bytes) : size_(bytes) {
  void* p = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  madvise(p, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  data_ = static_cast<uint8_t*>(p);
}

Arena::~Arena() { munmap(data_, static_cast<size_t>(size_)); }

void Arena::touch() {
  for (int64_t i = 0; i < size_; i += 4096) data_[i] = static_cast<uint8_t>(i >> 12);
}

void pin(ThreadPool& pool) {
  const std::vector<size_t>& cores = given_cores();
  pool.run([&](int64_t worker, int64_t workers) {
    if (workers > std::ssize(cores)) return;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cores[static_cast<size_t>(worker)], &one);
    sched_setaffinity(0, sizeof(one), &one);
  });
}

double median(std::vector<double> v) {
  if (v.empty()) return 0;
  const auto middle = v.begin() + std::ssize(v) / 2;
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

std::vector<Rates> alternate(ThreadPool& pool, double seconds, const std::vector<Timed>& jobs) {
  constexpr size_t kEnough = 20;
  struct Samples {
    std::vector<double> quiet, all;
  };
  std::vector<Samples> samples(jobs.size());
  const auto once = [&](const Timed& timed, int64_t i, Samples& out) {
    std::atomic<bool> disturbed{running_tasks() > pool.threads()};
    const double start = now_s();
    pool.run([&](int64_t worker, int64_t workers) {
      const long before = switches();
      timed.job(i, worker, workers);
      if (switches() != before) disturbed = true;
    });
    const double rate = timed.units / (now_s() - start);
    out.all.push_back(rate);
    if (!disturbed && running_tasks() <= pool.threads()) out.quiet.push_back(rate);
  };
  const auto each_has = [&](size_t count) {
    return std::all_of(samples.begin(), samples.end(),
                       [&](const Samples& s) { return s.quiet.size() >= count; });
  };
  const double start = now_s();
  for (int64_t i = 0;; ++i) {
    const double elapsed = now_s() - start;
    if (elapsed > seconds && (each_has(kEnough) || elapsed > 8 * seconds)) break;
    for (size_t j = 0; j < jobs.size(); ++j) once(jobs[j], i, samples[j]);
  }
  const bool busy = !each_has(kEnough / 2);
  std::vector<Rates> out;
  for (const Samples& s : samples) {
    const std::vector<double>& used = busy ? s.all : s.quiet;
    out.push_back({.median = median(used),
                   .best = used.empty() ? 0 : *std::max_element(used.begin(), used.end()),
                   .samples = std::ssize(used),
                   .dropped = std::ssize(s.all) - std::ssize(used),
                   .busy = busy});
  }
  return out;
}

}  // namespace halftone::benchmark
