// 95 % intervals by bootstrap over windows or items. Tokens of one window are not independent;
// intervals over tokens would be far too narrow.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace halftone::eval {

using Interval = std::array<double, 2>;

// Percentile interval of `statistic` over `resamples` draws with replacement from units 0..count-1
// (given as multiplicities). Seeded; the same at any thread count. Fewer than two units: {value,
// value}.
Interval bootstrap(int64_t count,
                   const std::function<double(std::span<const double> multiplicity)>& statistic,
                   uint64_t seed = 0, int64_t resamples = 2000);

// Linear interpolation between order statistics, p in [0, 1]; values need not be sorted.
double percentile(std::vector<float> values, double p);

}  // namespace halftone::eval
