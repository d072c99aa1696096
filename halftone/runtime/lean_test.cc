// What the runtime drags along, seen from a program that links it and nothing else.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <string>
#include <vector>

namespace halftone::runtime {
namespace {

std::string output_of(const std::string& command) {
  std::string out;
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return out;
  std::array<char, 4096> part{};
  while (std::fgets(part.data(), static_cast<int>(part.size()), pipe) != nullptr)
    out += part.data();
  const int status = pclose(pipe);
  EXPECT_EQ(status, 0) << out;
  return out;
}

const std::string kProbe = std::string(HALFTONE_BIN_DIR) + "/runtime_probe";

TEST(Lean, LinksNeitherTorchNorBlasNorRust) {
  // Names alone: load addresses are random, and one in some hundred holds the letters "c10".
  const std::string libraries = output_of("ldd " + kProbe + " | sed 's/ (0x.*//'");
  for (const char* unwanted : {"torch", "c10", "blas", "lapack", "gomp", "mkl", "protobuf"})
    EXPECT_EQ(libraries.find(unwanted), std::string::npos) << libraries;
  const std::string symbols = output_of("nm " + kProbe + " | head -100000");
  for (const char* unwanted : {"rust_", "cxxbridge", "sgemm", "_ZN2at", "_ZN3c10"})
    EXPECT_EQ(symbols.find(unwanted), std::string::npos) << unwanted;
}

// Milliseconds of processor time that one run takes; it waits for nothing, so on an idle machine
// that is the time it takes.
double processor_ms(const std::string& program) {
  pid_t child = 0;
  std::string name = program;
  char* arguments[] = {name.data(), nullptr};
  posix_spawn_file_actions_t quiet;
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", O_WRONLY, 0);
  EXPECT_EQ(posix_spawn(&child, program.c_str(), &quiet, nullptr, arguments, nullptr), 0);
  posix_spawn_file_actions_destroy(&quiet);
  int status = 0;
  rusage use{};
  EXPECT_EQ(wait4(child, &status, 0, &use), child);
  EXPECT_EQ(status, 0);
  const auto ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) * 1e-3;
  };
  return ms(use.ru_utime) + ms(use.ru_stime);
}

TEST(Lean, StartsInUnderFiftyMilliseconds) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers take longer to start than the program";
#endif
  double best_ms = 1e9;
  for (int i = 0; i < 5; ++i) best_ms = std::min(best_ms, processor_ms(kProbe));
  EXPECT_LT(best_ms, 50);
  RecordProperty("start_ms", std::to_string(best_ms));
}

}  // namespace
}  // namespace halftone::runtime
