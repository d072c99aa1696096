// What the runtime drags along, seen from a program that links it and nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
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
  while (std::fgets(part.data(), static_cast<int>(part.size()), pipe) != nullptr) out += part.data();
  const int status = pclose(pipe);
  EXPECT_EQ(status, 0) << out;
  return out;
}

const std::string kProbe = std::string(HALFTONE_BIN_DIR) + "/runtime_probe";

TEST(Lean, LinksNeitherTorchNorBlasNorRust) {
  const std::string libraries = output_of("ldd " + kProbe);
  for (const char* unwanted : {"torch", "c10", "blas", "lapack", "gomp", "mkl", "protobuf"})
    EXPECT_EQ(libraries.find(unwanted), std::string::npos) << libraries;
  const std::string symbols = output_of("nm " + kProbe + " | head -100000");
  for (const char* unwanted : {"rust_", "cxxbridge", "sgemm", "_ZN2at", "_ZN3c10"})
    EXPECT_EQ(symbols.find(unwanted), std::string::npos) << unwanted;
}

TEST(Lean, StartsInUnderFiftyMilliseconds) {
  double best_ms = 1e9;  // the machine may be busy: the quickest of several is what starting costs
  for (int i = 0; i < 7; ++i) {
    const auto start = std::chrono::steady_clock::now();
    output_of(kProbe);
    best_ms = std::min(best_ms, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  EXPECT_LT(best_ms, 50);
}

}  // namespace
}  // namespace halftone::runtime
