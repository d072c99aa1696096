// A model of the same function with other weights: each free channel of the fold graph times a
// seeded random factor.
//
// Made for `smollm2-fp`. The default model comes as 4-bit blocks, so its weights sit on a 4-bit
// group-32 grid, on which quantizing again is nearly free and every result an artefact. After the
// rescaling they sit on none, and logits differ by rounding only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/spec/checkpoint.h"

namespace halftone::spec {

// Factors of a tensor's rows and columns (empty: all one). Row and column are those of W [out, in];
// a norm's weight has rows only.
struct TensorScale {
  std::vector<double> row, column;
};
// exp(sigma * normal) for every channel of every fold, seeded by fold and channel.
std::map<std::string, TensorScale> random_fold_scales(const ModelSpec& spec, uint64_t seed,
                                                      double sigma);

// Writes config.json and model.safetensors (f32) of the rescaled model into `folder`, whole or not
// at all. `add_files` puts further files (the tokenizer's) beside them before the folder gets its
// name.
void write_rescaled(const Checkpoint& checkpoint, uint64_t seed, double sigma,
                    const std::string& folder, const Context& context,
                    const std::function<void(const std::string& temporary_folder)>& add_files);

}  // namespace halftone::spec
