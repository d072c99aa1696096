#include "tests/process.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <iterator>
#include <stdexcept>
#include <thread>

#include "halftone/base/env.h"
#include "halftone/base/hash.h"
#include "tests/support/data.h"

namespace halftone::tests {
namespace {

std::string drain(int fd) {
  std::string out;
  char buffer[65536];
  for (ssize_t n; (n = ::read(fd, buffer, sizeof(buffer))) != 0;) {
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    out.append(buffer, static_cast<size_t>(n));
  }
  ::close(fd);
  return out;
}

void add_folder(Env& env, const std::string& folder, const std::string& name, Hasher& hasher) {
  for (const std::string& entry : env.list(folder)) {
    const std::string path = join_path(folder, entry), inner = join_path(name, entry);
    if (env.stat(path)->is_directory) {
      add_folder(env, path, inner, hasher);
    } else {
      hasher.add(inner).add(env.read_text(path, 1ull << 32));
    }
  }
}

uint64_t bytes_in(Env& env, const std::string& folder) {
  uint64_t bytes = 0;
  if (!env.stat(folder)) return bytes;
  for (const std::string& name : env.list(folder))
    if (const auto info = env.stat(join_path(folder, name))) bytes += info->size;
  return bytes;
}

// `signal`, if there is one, says every few milliseconds what the program and all that it started
// is sent: 0 for nothing.
Outcome run(const std::vector<std::string>& argv, const std::map<std::string, std::string>& extra,
            const std::function<int()>& signal) {
  int out[2], err[2];
  if (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0)
    throw std::runtime_error("pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    if (signal) ::setpgid(0, 0);
    ::dup2(out[1], 1);
    ::dup2(err[1], 2);
    const int null = ::open("/dev/null", O_RDONLY);
    ::dup2(null, 0);
    for (const auto& [name, value] : extra) ::setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> arguments;
    for (const std::string& word : argv) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    ::_exit(127);
  }
  ::close(out[1]);
  ::close(err[1]);
  Outcome outcome;
  std::thread out_reader([&] { outcome.out = drain(out[0]); }),
      err_reader([&] { outcome.err = drain(err[0]); });
  int status = 0;
  while (::waitpid(child, &status, signal ? WNOHANG : 0) == 0) {
    if (const int now = signal()) ::kill(-child, now);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  out_reader.join();
  err_reader.join();
  if (WIFEXITED(status)) outcome.exit = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  return outcome;
}

}  // namespace

Outcome run(const std::vector<std::string>& argv, const std::map<std::string, std::string>& extra) {
  return run(argv, extra, {});
}

std::string halftone_path() { return std::string(HALFTONE_BIN_DIR) + "/halftone"; }

Outcome halftone(std::vector<std::string> arguments,
                 const std::map<std::string, std::string>& extra) {
  arguments.insert(arguments.begin(), halftone_path());
  return run(arguments, extra);
}

StoppedRun stopped_and_resumed(const std::vector<std::string>& arguments, const Stops& stops,
                               const std::map<std::string, std::string>& extra) {
  std::vector<std::string> argv = {halftone_path()};
  argv.insert(argv.end(), arguments.begin(), arguments.end());
  const auto env = posix_env();
  StoppedRun out;
  while (std::ssize(out.stopped) < stops.most) {
    const uint64_t before = bytes_in(*env, stops.folder);
    bool sent = false;
    Outcome outcome = run(argv, extra, [&] {
      if (sent || bytes_in(*env, stops.folder) <= before + before / 2) return 0;
      sent = true;
      return stops.signal;
    });
    if (!sent || outcome.exit == 0) {
      out.last = std::move(outcome);
      return out;
    }
    out.stopped.push_back(std::move(outcome));
    if (stops.between) stops.between();
  }
  out.last = run(argv, extra);
  return out;
}

std::string data_dir() { return posix_env()->stat(data_folder()) ? data_folder() : ""; }

std::string folder_hash(const std::string& folder) {
  Hasher hasher;
  const auto env = posix_env();
  add_folder(*env, folder, "", hasher);
  return hasher.hex();
}

Scratch::Scratch() {
  std::string pattern = "/tmp/halftone_test_XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
  folder_ = pattern;
}
Scratch::~Scratch() { posix_env()->remove_tree(folder_); }
std::string Scratch::path(const std::string& name) const {
  return name.empty() ? folder_ : join_path(folder_, name);
}

}  // namespace halftone::tests
