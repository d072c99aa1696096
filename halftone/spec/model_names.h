// From what the user typed to a path on this machine.
#pragma once

#include <string>
#include <vector>

#include "halftone/base/context.h"

namespace halftone::spec {

// Where ./setup puts the default models: $HALFTONE_CACHE, else $XDG_CACHE_HOME/halftone, else
// ~/.cache/halftone.
std::string cache_folder();

struct NamedModel {
  std::string name;    // "smollm2"
  std::string path;    // below cache_folder()
  std::string remedy;  // what to run when it is not there
};
const std::vector<NamedModel>& named_models();

// A folder or file that exists wins; then `smollm2` and its like; then a hub name in the local
// Hugging Face cache. E_MISSING says what was looked for and what to do.
std::string resolve_model(const std::string& model, const Context& context);

// Paths of the files that the model at `path` is made of, sorted: all of a folder but hidden ones and
// measured.json, which measuring adds; all parts of a split GGUF. Empty where nothing is there.
std::vector<std::string> model_files(Env& env, const std::string& path);

}  // namespace halftone::spec
