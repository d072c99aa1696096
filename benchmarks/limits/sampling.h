// How a figure on a shared machine is taken: work and its limit alternate in one process, because
// clocks and memory bandwidth drift by tens of percent within an hour; threads have a core each;
// samples during which the system took a core away or something else was running are put aside.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "halftone/base/threads.h"

namespace halftone::benchmark {

// Zero-filled memory with large pages where the system gives them.
class Arena {
 public:
  explicit Arena(int64_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  uint8_t* data() const { return data_; }
  int64_t size() const { return size_; }
  void touch();  // writes to every page: a page never written is the one zero page

 private:
  uint8_t* data_ = nullptr;
  int64_t size_;
};

// Binds each worker to one of the cores this process was given; nothing where there are more
// workers than cores.
void pin(ThreadPool& pool);

double median(std::vector<double> v);  // 0 of none

// Called on every worker; a sample should take 0.2 to 5 ms.
using Job = std::function<void(int64_t sample, int64_t worker, int64_t workers)>;

struct Timed {
  Job job;
  double units;  // of one sample, over all workers
};

// Units per second.
struct Rates {
  double median = 0, best = 0;
  int64_t samples = 0, dropped = 0;
  bool busy = false;  // too few samples were undisturbed, so all had to serve
};

// Takes the jobs in turn for at least `seconds`, up to 8 times that until each has 20 undisturbed
// samples.
std::vector<Rates> alternate(ThreadPool& pool, double seconds, const std::vector<Timed>& jobs);

}  // namespace halftone::benchmark
