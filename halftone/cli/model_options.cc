#include "halftone/cli/model_options.h"

#include <sys/resource.h>

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

uint64_t peak_rss_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<uint64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace halftone::cli
