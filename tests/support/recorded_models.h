// The tiny models of tests/fixtures/models with what transformers computes on them. Sweeps over
// families take their list from here, so that a new fixture joins all of them.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace halftone::tests {

inline std::string models_folder() {
  return std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models";
}

// Names of the folders with a reference.safetensors, sorted. Copies in other containers have none.
inline std::vector<std::string> recorded_models() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(models_folder()))
    if (std::filesystem::exists(entry.path() / "reference.safetensors"))
      names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace halftone::tests
