// What the tests of this folder share: where the data lies, and the conformance files.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/env.h"
#include "halftone/base/error.h"

namespace halftone::text {

// The folder of real test data, or "" when this machine has none: env HALFTONE_DATA, else beside
// the source tree.
inline std::string data_folder() {
  const char* given = std::getenv("HALFTONE_DATA");
  const std::string folder = given ? given : join_path(HALFTONE_SOURCE_DIR, "../shared/data");
  return posix_env()->stat(join_path(folder, "tokenizers")) ? folder : "";
}

#define HALFTONE_NEED_DATA() \
  if (data_folder().empty()) \
  GTEST_SKIP() << "no test data: set HALFTONE_DATA to the folder that holds tokenizers/"

struct TestContext : Context {
  TestContext() { env = env_.get(); }
  std::unique_ptr<Env> env_ = posix_env();
};

inline std::string read_data(const std::string& path) {
  return posix_env()->read_text(join_path(data_folder(), path), 64 << 20);
}

// The strings of tokenizers/conformance/ggml-vocab-NAME.gguf.inp with their ids from .out.
inline std::vector<std::pair<std::string, std::vector<int32_t>>> conformance(
    const std::string& name) {
  const std::string base = "tokenizers/conformance/ggml-vocab-" + name + ".gguf";
  const std::string texts = read_data(base + ".inp"), mark = "\n__ggml_vocab_test__\n";
  std::istringstream lines(read_data(base + ".out"));
  std::vector<std::pair<std::string, std::vector<int32_t>>> out;
  std::string line;
  for (size_t at = 0, end; (end = texts.find(mark, at)) != std::string::npos;
       at = end + mark.size()) {
    std::getline(lines, line);
    std::istringstream numbers(line);
    std::vector<int32_t> ids;
    for (int32_t id; numbers >> id;) ids.push_back(id);
    out.emplace_back(texts.substr(at, end - at), ids);
  }
  EXPECT_EQ(out.size(), 46u) << name;
  return out;
}

// The line of the error that `work` throws, or "no error".
template <class Work>
std::string error_line(const Work& work) {
  try {
    work();
    return "no error";
  } catch (const Error& e) {
    return e.line();
  }
}

}  // namespace halftone::text
