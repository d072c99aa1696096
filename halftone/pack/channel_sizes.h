// How large the channels of a matrix are (its columns: inputs of a linear, channels of an
// activation), and which stand out: what shares a scale along a row or a group is rounded as
// coarsely as its largest channel asks for.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "halftone/base/tensor.h"

namespace halftone::pack {

// Of weights the largest |w| is what a scale has to reach; of activations, where a few massive
// tokens would rule a largest value, the root mean square.
enum class ChannelMeasure : uint8_t { largest, root_mean_square };

struct ChannelSizes {
  // Percentiles 1, 25, 50, 75, 99 of the channels' sizes, interpolated between order statistics; 0
  // without channels.
  double p1 = 0, q1 = 0, median = 0, q3 = 0, p99 = 0;
  double ratio = 0;                               // largest / median; 0 where the median is
  int64_t count = 0;                              // of channels beyond kOutlier times the median
  std::vector<std::pair<int64_t, double>> worst;  // channel, size: the largest first, at most 8
};
inline constexpr double kOutlier = 6;
// Values that are not finite count as 0.
ChannelSizes channel_sizes(const Matrix<float>& m, ChannelMeasure measure);

}  // namespace halftone::pack
