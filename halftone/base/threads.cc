#include "halftone/base/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/error.h"

namespace halftone {
namespace {

thread_local bool inside_job = false;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins for about 50 us, then gives up. More threads than cores never spin: the spinner would hold
// the core that the worker it waits for needs.
template <class Ready>
bool spin_until(const Ready& ready, bool may_spin) {
  if (ready()) return true;
  if (!may_spin) return false;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(50);
  for (;;) {
    for (int i = 0; i < 64; ++i) {
      if (ready()) return true;
      relax();
    }
    if (std::chrono::steady_clock::now() > deadline) return ready();
  }
}

// The CPUs of the affinity mask, ascending; empty where the system does not say.
std::vector<size_t> usable_cpus() {
  cpu_set_t set;
  std::vector<size_t> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  return cpus;
}

void keep_on(std::thread& thread, size_t cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  pthread_setaffinity_np(thread.native_handle(), sizeof(set), &set);  // a wish: it runs without
}

}  // namespace

struct ThreadPool::State {
  int64_t threads = 1;
  bool may_spin = true;
  std::vector<std::thread> workers;
  std::mutex mutex;
  std::condition_variable wake, done;
  std::atomic<uint64_t> generation{0};
  std::atomic<int64_t> pending{0};
  std::atomic<bool> quit{false};
  const FunctionRef<void(int64_t, int64_t)>* job = nullptr;
  std::vector<std::exception_ptr> failures;

  void execute(int64_t worker) {
    inside_job = true;
    try {
      (*job)(worker, threads);
    } catch (...) {
      failures[static_cast<size_t>(worker)] = std::current_exception();
    }
    inside_job = false;
  }

  void loop(int64_t worker) {
    uint64_t seen = 0;
    for (;;) {
      const auto ready = [&] {
        return generation.load(std::memory_order_acquire) != seen ||
               quit.load(std::memory_order_relaxed);
      };
      if (!spin_until(ready, may_spin)) {
        std::unique_lock lock(mutex);
        wake.wait(lock, ready);
      }
      if (quit.load(std::memory_order_relaxed)) return;
      seen = generation.load(std::memory_order_acquire);
      execute(worker);
      if (pending.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard lock(mutex);
        done.notify_one();
      }
    }
  }
};

ThreadPool::ThreadPool(int64_t threads, bool pinned) : state_(std::make_unique<State>()) {
  check(threads >= 1, "a pool needs at least one thread");
  state_->threads = threads;
  const std::vector<size_t> cpus = usable_cpus();
  state_->may_spin = threads <= std::max<int64_t>(1, std::ssize(cpus));
  state_->failures.resize(static_cast<size_t>(threads));
  for (int64_t i = 1; i < threads; ++i) {
    state_->workers.emplace_back([this, i] { state_->loop(i); });
    if (pinned && i < std::ssize(cpus))
      keep_on(state_->workers.back(), cpus[static_cast<size_t>(i)]);
  }
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(state_->mutex);
    state_->quit.store(true);
  }
  state_->wake.notify_all();
  for (auto& worker : state_->workers) worker.join();
}

int64_t ThreadPool::threads() const { return state_->threads; }

void ThreadPool::run(FunctionRef<void(int64_t, int64_t)> job) {
  State& s = *state_;
  if (inside_job || s.threads == 1) {
    if (inside_job) {
      job(0, 1);
      return;
    }
    s.job = &job;
    s.execute(0);
  } else {
    s.job = &job;
    s.pending.store(s.threads - 1, std::memory_order_relaxed);
    {
      std::lock_guard lock(s.mutex);
      s.generation.fetch_add(1, std::memory_order_release);
    }
    s.wake.notify_all();
    s.execute(0);
    const auto ready = [&] { return s.pending.load(std::memory_order_acquire) == 0; };
    if (!spin_until(ready, s.may_spin)) {
      std::unique_lock lock(s.mutex);
      s.done.wait(lock, ready);
    }
  }
  std::exception_ptr first;
  for (auto& failure : s.failures) {
    if (failure && !first) first = failure;
    failure = nullptr;
  }
  if (first) std::rethrow_exception(first);
}

void ThreadPool::each(int64_t count, FunctionRef<void(int64_t)> task) {
  std::atomic<int64_t> next{0};
  run([&](int64_t, int64_t) {
    for (int64_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) task(i);
  });
}

void ThreadPool::split(int64_t count, FunctionRef<void(int64_t, int64_t)> range) {
  run([&](int64_t worker, int64_t workers) {
    const int64_t begin = count * worker / workers, end = count * (worker + 1) / workers;
    if (begin < end) range(begin, end);
  });
}

int64_t usable_cores() { return std::max<int64_t>(1, std::ssize(usable_cpus())); }

void Context::throw_if_stopped() const {
  if (stop != nullptr && stop->load(std::memory_order_relaxed))
    throw Error(Code::interrupted, {}, "interrupted");
}

}  // namespace halftone
