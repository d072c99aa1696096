#include "halftone/cli/sampling_options.h"

#include <random>

namespace halftone::cli {

runtime::SamplerOptions SamplingOptions::resolve() const {
  runtime::SamplerOptions out = sampler;
  out.seed = seed ? *seed : std::random_device{}();
  if (greedy) out.temperature = 0;
  runtime::validate(out);
  return out;
}

}  // namespace halftone::cli
