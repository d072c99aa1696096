// What the files alone tell of each linear: how far its weights are from the reference's, how they
// are distributed, and which of its inputs stand out.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/context.h"
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

// How large the channels of a matrix are (its columns: inputs of a linear, channels of an
// activation), each by its root mean square, and which stand out.
struct ChannelSizes {
  double p1 = 0, q1 = 0, median = 0, q3 = 0, p99 = 0;  // of the channels' sizes, nearest rank
  double ratio = 0;                                    // largest / median; 0 where the median is
  int64_t count = 0;                              // of channels beyond kOutlier times the median
  std::vector<std::pair<int64_t, double>> worst;  // channel, size: the largest first, at most 8
};
inline constexpr double kOutlier = 6;
ChannelSizes channel_sizes(const Matrix<float>& m);

struct WeightError {
  std::string op, role;
  // ||W_q - W|| / ||W||, Frobenius; 0 without a reference. A linear of zeros has 1, so more than
  // that is another model's, or one in another basis (a rotation, folded factors).
  double relative = 0;
  int64_t not_finite = 0;  // weights that are NaN or infinite, left out of everything else
  std::string refused;     // why the linear cannot be read (a scale that is NaN), else empty
  Histogram weights;       // of the quantized model
  ChannelSizes inputs;     // of the reference's weights where there is one
};

// One row for each linear of `model`, in execution order. `reference` may be null. Reads every
// weight once; the peak is two linears in f32 for each thread. Errors: those of the reference; what
// is wrong with a linear of `model` is in its row.
std::vector<WeightError> weight_errors(const PackedModel& model, const PackedModel* reference,
                                       const Context& context);

}  // namespace halftone::pack
