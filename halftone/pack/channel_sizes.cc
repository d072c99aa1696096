#include "halftone/pack/channel_sizes.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace halftone::pack {
namespace {

std::vector<double> largest(const Matrix<float>& m) {
  std::vector<float> out(static_cast<size_t>(m.cols), 0.0f);
  for (int64_t r = 0; r < m.rows; ++r) {
    const auto row = m.row(r);
    for (size_t k = 0; k < out.size(); ++k)
      if (const float x = std::abs(row[k]); std::isfinite(x) && x > out[k]) out[k] = x;
  }
  return {out.begin(), out.end()};
}

std::vector<double> root_mean_squares(const Matrix<float>& m) {
  std::vector<double> out(static_cast<size_t>(m.cols), 0.0);
  for (int64_t r = 0; r < m.rows; ++r) {
    const auto row = m.row(r);
    for (size_t k = 0; k < out.size(); ++k)
      if (std::isfinite(row[k]))
        out[k] += static_cast<double>(row[k]) * static_cast<double>(row[k]);
  }
  for (double& square : out) square = std::sqrt(square / static_cast<double>(m.rows));
  return out;
}

}  // namespace

ChannelSizes channel_sizes(const Matrix<float>& m, ChannelMeasure measure) {
  ChannelSizes out;
  if (m.rows == 0 || m.cols == 0) return out;
  const auto sizes = measure == ChannelMeasure::largest ? largest(m) : root_mean_squares(m);
  std::vector<int64_t> order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  const auto size = [&](int64_t channel) { return sizes[static_cast<size_t>(channel)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return size(a) > size(b); });
  const auto ranked = [&](int64_t from_top) { return size(order[static_cast<size_t>(from_top)]); };
  const auto percentile = [&](double p) {
    const double place = (1 - p) * static_cast<double>(m.cols - 1);
    const auto above = static_cast<int64_t>(place);
    const double a = ranked(above), b = ranked(std::min(above + 1, m.cols - 1));
    return a + (b - a) * (place - static_cast<double>(above));
  };
  out = {.p1 = percentile(0.01),
         .q1 = percentile(0.25),
         .median = percentile(0.5),
         .q3 = percentile(0.75),
         .p99 = percentile(0.99)};
  for (const int64_t channel : order) {
    if (out.worst.size() < 8) out.worst.emplace_back(channel, size(channel));
    if (out.median > 0 && size(channel) > kOutlier * out.median) ++out.count;
  }
  if (out.median > 0) out.ratio = out.worst[0].second / out.median;
  return out;
}

}  // namespace halftone::pack
