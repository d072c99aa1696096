// What the files alone tell of each linear: how far its weights are from the reference's, how they
// are distributed, and which of its inputs stand out.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/error.h"
#include "halftone/pack/channel_sizes.h"
#include "halftone/pack/packed_model.h"

namespace halftone::pack {

// Counts of values in units of their root mean square: 32 equal bins over [-8, 8), what lies beyond
// counted in the outermost ones. A normal distribution has 3.8e-4 of its values beyond 3.5.
struct Histogram {
  static constexpr int64_t kBins = 32;
  static constexpr double kReach = 8;
  std::vector<int64_t> counts = std::vector<int64_t>(kBins, 0);
  double rms = 0;
};
Histogram histogram(std::span<const float> values);

struct WeightError {
  std::string op, role;
  int64_t block = 0;  // -1 prologue, 0.. blocks, blocks() epilogue
  // ||W_q - W|| / ||W||, Frobenius; 0 without a reference. A linear of zeros has 1, so more than
  // that is another model's, or one in another basis (a rotation, folded factors).
  double relative = 0;
  int64_t not_finite = 0;        // weights that are NaN or infinite, left out of everything else
  std::optional<Error> refused;  // why the linear cannot be read (a scale that is NaN)
  Histogram weights;
  ChannelSizes inputs;  // largest weight of each
};

// For each of `models` a row for each linear, in execution order. `reference` may be null, or one of
// `models`. Every weight of every model is read once; the peak is two linears in f32 for each
// thread. Models whose ops are not those of the reference: a bug (check_mixable). Errors: those of
// the reference; what is wrong with a linear of a model is in its row.
std::vector<std::vector<WeightError>> weight_errors(std::span<const PackedModel* const> models,
                                                    const PackedModel* reference,
                                                    const Context& context);

}  // namespace halftone::pack
