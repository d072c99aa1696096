// How far the weights of each input channel reach, linear by linear: what shares a scale along a row
// or a group is rounded as coarsely as its largest channel asks for.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/pack/packed_model.h"

namespace halftone::pack {

// The largest |w| of each column of a matrix [N, K], and how these K values are distributed.
struct ChannelRange {
  // Percentiles 1, 25, 50, 75, 99, interpolated between order statistics; 0 without columns.
  double p1 = 0, q1 = 0, median = 0, q3 = 0, p99 = 0;
  std::vector<std::pair<int64_t, float>>
      worst;  // channels with the largest, at most 8, largest first
};
ChannelRange channel_range(const Matrix<float>& w);

struct LinearRange {
  std::string op, role;
  int64_t block = 0;  // -1 prologue, 0.. blocks, blocks() epilogue
  ChannelRange range;
};
// One row for each linear, in execution order; one that cannot be read (a scale that is NaN) has
// none. Reads every weight once; the peak is a linear in f32 for each thread. Weights that are not
// finite count as 0.
std::vector<LinearRange> channel_ranges(const PackedModel& model, const Context& context);

}  // namespace halftone::pack
