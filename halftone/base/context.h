// What every long piece of work is given: threads, limits, where text goes, and when to stop. No
// singletons.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "halftone/base/limits.h"

namespace halftone {

class Env;
class ThreadPool;

enum class Level : uint8_t { detail, info, warning };

// Progress of one stage. `done` and `total` are work units (multiply-adds, tokens), not counts of
// items: remaining time is a rate times the work left. The sink decides how often to draw.
struct Progress {
  std::string_view stage;   // "round"
  std::string_view detail;  // "blocks.13 o_proj"
  double done = 0, total = 0;
  std::string_view unit;  // "tok", "" when the figure means nothing to a reader
};

struct Context {
  int64_t threads = 1;
  uint64_t seed = 0;
  Limits limits;
  Env* env = nullptr;          // never null once cli/ or a test made the context
  ThreadPool* pool = nullptr;  // has `threads` workers
  std::function<void(Level, std::string_view)> log = [](Level, std::string_view) {};
  std::function<void(const Progress&)> progress = [](const Progress&) {};
  // set by the first SIGINT; safe points call `throw_if_stopped`
  std::atomic<bool>* stop = nullptr;

  void info(std::string_view text) const { log(Level::info, text); }
  void warn(std::string_view text) const { log(Level::warning, text); }
  void throw_if_stopped() const;  // throws Error{Code::interrupted}
};

}  // namespace halftone
