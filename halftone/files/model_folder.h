// The weights of a model, wherever they are: a folder in Hugging Face layout, or one file.
//
//   auto tensors = open_tensors("path/to/model", context);
//   Json config = read_config("path/to/model", context);
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "halftone/base/context.h"
#include "halftone/base/json.h"
#include "halftone/files/tensor_source.h"

namespace halftone::files {

struct WeightFiles {
  enum class Kind : uint8_t {
    safetensors,
    safetensors_index,
    gguf,
    pytorch,
    pytorch_index
  } kind = Kind::safetensors;
  std::string path;
};

// Which weights to read. safetensors win over pytorch_model.bin, an index over the single file, and
// a folder with exactly one .gguf (or one set of splits) is that GGUF. E_MISSING names what was
// looked for. `path` may be a file of any of these kinds.
WeightFiles find_weights(const std::string& path, const Context& context);

// The tensors under the names of the file.
std::shared_ptr<const TensorSource> open_tensors(const std::string& path, const Context& context);

// `folder`/config.json (or `name` instead), parsed strictly; E_MISSING with the remedy when absent.
Json read_config(const std::string& folder, const Context& context,
                 const std::string& name = "config.json");
std::optional<Json> read_config_if_there(const std::string& folder, const Context& context,
                                         const std::string& name);

}  // namespace halftone::files
