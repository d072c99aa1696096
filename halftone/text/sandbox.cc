#include "halftone/text/sandbox.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>

#include "halftone/base/error.h"

namespace halftone::text {
namespace {

constexpr char kWhole = '\x06';  // the last byte of a complete answer
// Waiting is bounded too, generously: on a busy machine a child gets little processor time.
constexpr uint64_t kWallFactor = 100;
// Instrumented work takes several times the processor time; the limit is meant for the plain one.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t kInstrumented = 10;
#else
constexpr uint64_t kInstrumented = 1;
#endif

uint64_t address_space_bytes() {
  uint64_t pages = 0;
  if (std::FILE* f = std::fopen("/proc/self/statm", "re")) {
    unsigned long long n = 0;
    if (std::fscanf(f, "%llu", &n) == 1) pages = n;
    std::fclose(f);
  }
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

void limit(decltype(RLIMIT_AS) what, uint64_t most) {
  rlimit r{};
  if (getrlimit(what, &r) != 0) return;
  const auto wanted = static_cast<rlim_t>(most);
  if (r.rlim_max == RLIM_INFINITY || wanted < r.rlim_max) r.rlim_max = wanted;
  r.rlim_cur = r.rlim_max;
  setrlimit(what, &r);
}

[[noreturn]] void child(int out, const std::function<std::string()>& work,
                        const SandboxLimits& limits, uint64_t space) {
  // A fault in here is an answer, not an event: nothing may reach the terminal or leave a core
  // file.
  if (const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC); null >= 0) {
    dup2(null, STDOUT_FILENO);
    dup2(null, STDERR_FILENO);
  }
  for (const int s : {SIGPROF, SIGXCPU, SIGSEGV, SIGBUS, SIGABRT, SIGINT, SIGTERM})
    std::signal(s, SIG_DFL);
  std::signal(SIGPIPE, SIG_IGN);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  limit(RLIMIT_CORE, 0);
  if (space > 0) limit(RLIMIT_AS, space + limits.memory_bytes);
  itimerval timer{};
  const uint64_t ms = limits.processor_ms * kInstrumented;
  timer.it_value.tv_sec = static_cast<time_t>(ms / 1000);
  timer.it_value.tv_usec = static_cast<suseconds_t>(ms % 1000 * 1000);
  setitimer(ITIMER_PROF, &timer, nullptr);

  std::string answer;
  try {
    answer = work();
  } catch (...) {
    _exit(3);
  }
  answer += kWhole;
  for (size_t at = 0; at < answer.size();) {
    const ssize_t n = ::write(out, answer.data() + at, answer.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) _exit(4);
    at += static_cast<size_t>(n);
  }
  _exit(0);
}

}  // namespace

SandboxResult run_in_sandbox(const std::function<std::string()>& work,
                             const SandboxLimits& limits) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) throw IoError("a pipe", "pipe2", errno);
  const uint64_t space = address_space_bytes();
  const pid_t pid = fork();
  if (pid < 0) {
    const int error = errno;
    ::close(ends[0]);
    ::close(ends[1]);
    throw IoError("a child process", "fork", error);
  }
  if (pid == 0) child(ends[1], work, limits, space);
  ::close(ends[1]);

  SandboxResult result;
  const auto deadline = std::chrono::steady_clock::now() +
                        std::chrono::milliseconds(limits.processor_ms * kWallFactor);
  bool late = false, large = false;
  std::array<char, 65536> buffer{};
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                          deadline - std::chrono::steady_clock::now())
                          .count();
    pollfd p{.fd = ends[0], .events = POLLIN, .revents = 0};
    const int ready = left > 0 ? poll(&p, 1, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      late = true;
      break;
    }
    const ssize_t n = ::read(ends[0], buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    result.output.append(buffer.data(), static_cast<size_t>(n));
    if (result.output.size() > limits.output_bytes + 1) {
      large = true;
      break;
    }
  }
  ::close(ends[0]);
  if (late || large) kill(pid, SIGKILL);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  const bool whole = !result.output.empty() && result.output.back() == kWhole;
  const bool exited = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  if (large) {
    result.end = SandboxResult::End::too_much_output;
  } else if (late || (WIFSIGNALED(status) &&
                      (WTERMSIG(status) == SIGPROF || WTERMSIG(status) == SIGXCPU))) {
    result.end = SandboxResult::End::out_of_time;
  } else if (whole && exited) {
    result.end = SandboxResult::End::done;
    result.output.pop_back();
    return result;
  }
  result.output.clear();
  return result;
}

}  // namespace halftone::text
