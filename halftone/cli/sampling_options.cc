#include "halftone/cli/sampling_options.h"

#include <cmath>
#include <random>

#include "halftone/base/error.h"

namespace halftone::cli {

runtime::SamplerOptions SamplingOptions::resolve() const {
  runtime::SamplerOptions out = sampler;
  for (const auto& [flag, value] : {std::pair{"--temperature", out.temperature},
                                    {"--top-p", out.top_p},
                                    {"--min-p", out.min_p},
                                    {"--repetition-penalty", out.repetition_penalty}})
    if (!std::isfinite(value)) throw InputError(flag, "is not a finite number");
  out.seed = seed ? *seed : std::random_device{}();
  if (greedy) out.temperature = 0;
  runtime::validate(out);
  return out;
}

}  // namespace halftone::cli
