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

// The same draws for several statistics at once: `statistics` writes the values of one draw, and the
// result holds those of all draws, [count of statistics][resamples]. What is drawn depends on
// `count`, `seed` and the place of the draw alone, so two systems on the same items are paired.
using Statistics =
    std::function<void(std::span<const double> multiplicity, std::span<double> values)>;
std::vector<std::vector<double>> resample(int64_t count, int64_t values,
                                          const Statistics& statistics, uint64_t seed = 0,
                                          int64_t resamples = 2000);
// From percentile 2.5 to 97.5 of the values of all draws.
Interval middle(std::vector<double> values);

// Linear interpolation between order statistics, p in [0, 1]; values need not be sorted.
double percentile(std::vector<float> values, double p);

}  // namespace halftone::eval
