// A pool that splits work statically, so that the same item always does the same arithmetic at any
// thread count.
//
// Workers spin for a short while after each job and then park: decode issues hundreds of jobs a
// token, and a futex wake costs 9 us where a spin barrier costs 0.2 us. The caller is worker 0. One
// job at a time; not reentrant: `run` inside a job executes serially on the calling worker.
// Exceptions of workers reach the caller of `run` (the one of the lowest index).
// A job is never copied, so starting one allocates nothing.
#pragma once

#include <cstdint>
#include <memory>

#include "halftone/base/function_ref.h"

namespace halftone {

class ThreadPool {
 public:
  // `pinned`: worker i stays on the i-th CPU that this process may use, as far as there are that
  // many. The caller is not bound: what it starts besides would be bound with it.
  explicit ThreadPool(int64_t threads, bool pinned = false);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int64_t threads() const;
  // job(worker, workers) on every worker.
  void run(FunctionRef<void(int64_t worker, int64_t workers)> job);
  // task(i) for i in [0, count): handed out one by one in index order; which worker runs which is
  // not fixed, so a task must not depend on it.
  void each(int64_t count, FunctionRef<void(int64_t i)> task);
  // range(begin, end) over [0, count) cut into `threads()` equal contiguous pieces.
  void split(int64_t count, FunctionRef<void(int64_t begin, int64_t end)> range);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

int64_t usable_cores();  // the affinity mask, not the machine

}  // namespace halftone
