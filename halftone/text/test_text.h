// What the tests of this folder share: the conformance files, and errors as one line.
#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "tests/support/data.h"

namespace halftone::text {

using tests::data_folder;
using tests::data_path;
using tests::without_data;

struct TestContext : Context {
  TestContext() { env = env_.get(); }
  std::unique_ptr<Env> env_ = posix_env();
};

inline std::string read_data(const std::string& path) {
  return posix_env()->read_text(data_path(path), 64 << 20);
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
