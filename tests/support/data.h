// Where tests find what is too large for the tree: the data folder and the default model. Whoever
// has neither sees the tests that read them skipped, each with what to do about it:
//
//     if (const auto why = without_data("tokenizers"); !why.empty()) GTEST_SKIP() << why;
#pragma once

#include <algorithm>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/env.h"

namespace halftone::tests {

// $HALFTONE_DATA, else shared/data beside the project's root. It may not be there.
inline std::string data_folder() {
  const char* set = std::getenv("HALFTONE_DATA");
  return set != nullptr && *set != 0 ? set : join_path(HALFTONE_SOURCE_DIR, "../shared/data");
}
inline std::string data_path(const std::string& name) { return join_path(data_folder(), name); }

// Empty when the data folder holds `name`.
inline std::string without_data(const std::string& name) {
  if (posix_env()->stat(data_path(name))) return {};
  return "no " + data_path(name) + ": set HALFTONE_DATA to the folder that holds " + name;
}

// The GGUF of SmolLM2 where ./setup puts it (spec/model_names.h).
inline std::string default_model() {
  const auto environment = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value != nullptr ? value : "");
  };
  std::string root = environment("HALFTONE_CACHE");
  if (root.empty() && !environment("XDG_CACHE_HOME").empty())
    root = join_path(environment("XDG_CACHE_HOME"), "halftone");
  if (root.empty()) root = join_path(environment("HOME"), ".cache/halftone");
  return join_path(root, "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
}

// Empty when it is there.
inline std::string without_default_model() {
  if (posix_env()->stat(default_model())) return {};
  return "SmolLM2's GGUF is not at " + default_model() + ": ./setup fetches it";
}

// The first `most` texts of a file that ends each with <|endoftext|>, without the line breaks
// around them; empty ones do not count.
inline std::vector<std::string> stories(std::string_view file, size_t most) {
  constexpr std::string_view kEnd = "<|endoftext|>";
  std::vector<std::string> out;
  for (size_t begin = 0; begin < file.size() && out.size() < most;) {
    const size_t end = std::min(file.find(kEnd, begin), file.size());
    std::string_view story = file.substr(begin, end - begin);
    begin = end + kEnd.size();
    while (story.starts_with('\n')) story.remove_prefix(1);
    while (story.ends_with('\n')) story.remove_suffix(1);
    if (!story.empty()) out.emplace_back(story);
  }
  return out;
}

}  // namespace halftone::tests
