// Simulated against real quantization, as a table of the generation study.
#pragma once

#include <string>
#include <vector>

#include "halftone/cli/model_options.h"
#include "halftone/eval/sweep.h"

namespace halftone::cli {

// Loss of each model on what the first one wrote, by the real kernels and by torch's simulation of
// the same weights, and how fast each reads it. What the reference writes is what a text of its own
// kind is: the mean is an estimate of the divergence between the two as writers.
//   {models: [{name, real, simulated {kl, kl_ci95, perplexity, tok_s}}], tokens, basis}
// `reference_samples`: of the first model, whole, by index. Needs torch.
Json simulated_loss(const std::vector<std::string>& models, const std::vector<std::string>& names,
                    const eval::SweepGrid& grid, const std::vector<Json>& reference_samples,
                    const ModelOptions& load, const Session& session);

}  // namespace halftone::cli
