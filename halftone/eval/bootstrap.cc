#include "halftone/eval/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/base/rng.h"

namespace halftone::eval {

std::vector<std::vector<double>> resample(int64_t count, int64_t values,
                                          const Statistics& statistics, uint64_t seed,
                                          int64_t resamples) {
  check(count >= 1 && values >= 1 && resamples >= 40, "a bootstrap needs units and resamples");
  std::vector<std::vector<double>> out(static_cast<size_t>(values),
                                       std::vector<double>(static_cast<size_t>(resamples)));
  std::vector<double> multiplicity(static_cast<size_t>(count)), drawn(out.size());
  for (int64_t r = 0; r < resamples; ++r) {
    const CounterRng rng(seed, 0xb007u, static_cast<uint32_t>(r));
    std::fill(multiplicity.begin(), multiplicity.end(), 0.0);
    for (int64_t i = 0; i < count; ++i)
      multiplicity[static_cast<size_t>(rng.uniform(static_cast<uint64_t>(i)) *
                                       static_cast<double>(count))] += 1.0;
    statistics(multiplicity, drawn);
    for (size_t v = 0; v < drawn.size(); ++v) out[v][static_cast<size_t>(r)] = drawn[v];
  }
  return out;
}

Interval middle(std::vector<double> values) {
  check(!values.empty(), "an interval needs values");
  std::sort(values.begin(), values.end());
  const auto at = [&](double p) {
    return values[static_cast<size_t>(std::lround(p * static_cast<double>(values.size() - 1)))];
  };
  return {at(0.025), at(0.975)};
}

Interval bootstrap(int64_t count, const std::function<double(std::span<const double>)>& statistic,
                   uint64_t seed, int64_t resamples) {
  if (count == 1) {
    const double value = statistic(std::vector<double>{1.0});
    return {value, value};
  }
  return middle(resample(
      count, 1,
      [&](std::span<const double> multiplicity, std::span<double> values) {
        values[0] = statistic(multiplicity);
      },
      seed, resamples)[0]);
}

double percentile(std::vector<float> values, double p) {
  check(!values.empty() && p >= 0 && p <= 1, "a percentile needs values");
  const double place = p * static_cast<double>(values.size() - 1);
  const auto low = static_cast<size_t>(place);
  const auto lower = values.begin() + static_cast<std::ptrdiff_t>(low);
  std::nth_element(values.begin(), lower, values.end());
  const double a = *lower;
  if (low + 1 == values.size()) return a;
  const double b = *std::min_element(lower + 1, values.end());
  return a + (b - a) * (place - static_cast<double>(low));
}

}  // namespace halftone::eval
