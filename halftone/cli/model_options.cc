#include "halftone/cli/model_options.h"

#include <chrono>

namespace halftone::cli {

LoadedModel load_model(const std::string& name, const std::string& mode, const Context& context) {
  const auto start = std::chrono::steady_clock::now();
  LoadedModel loaded;
  loaded.packed = pack::open_model(name, context);
  loaded.model =
      runtime::Model::load(loaded.packed, {.numerics = runtime::numerics_from(mode)}, context);
  loaded.load_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return loaded;
}

}  // namespace halftone::cli
