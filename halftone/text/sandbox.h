// Runs untrusted work in a child process with bounds that the kernel keeps: processor time, memory,
// stack, output.
//
// For chat templates: the engine counts steps, but one step may double a string, and a crate that
// runs out of memory or stack takes the process with it. The child is forked, so it sees everything
// by copy, and talks back through a pipe; whatever happens to it, the caller gets an answer. A fork
// costs about a millisecond.
//
// Threads: any thread may call. Only the calling thread exists in the child, so `work` must not
// wait for others, print, or touch files; allocation is fine (glibc repairs its locks at fork).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace halftone::text {

struct SandboxLimits {
  uint64_t processor_ms = 200;
  uint64_t memory_bytes = 256ull << 20;  // beyond what the process has at the fork
  uint64_t output_bytes = 4ull << 20;
};

struct SandboxResult {
  enum class End { done, out_of_time, crashed, too_much_output };
  End end = End::crashed;  // crashed: ran out of memory or stack
  std::string output;      // what `work` returned, when done
};

// Errors: IoError when the operating system refuses a pipe or a process.
SandboxResult run_in_sandbox(const std::function<std::string()>& work, const SandboxLimits& limits);

}  // namespace halftone::text
