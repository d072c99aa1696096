#include "halftone/calib/observers.h"

#include <algorithm>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/linalg/linalg.h"

namespace halftone::calib {

using recipe::Need;

std::vector<Watched> group_by_input(const spec::Segment& segment,
                                    const std::map<std::string, std::set<Need>>& observe) {
  std::vector<Watched> groups;
  size_t found = 0;
  for (const spec::Op& op : segment.ops) {
    const auto* linear = std::get_if<spec::Linear>(&op.params);
    const auto wanted = observe.find(op.name);
    if (linear == nullptr || wanted == observe.end()) continue;
    ++found;
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const Watched& g) { return g.value == op.in.at(0); });
    if (group == groups.end())
      group = groups.insert(groups.end(), {op.in.at(0), linear->in, {}, {}});
    group->ops.push_back(op.name);
    group->needs.insert(wanted->second.begin(), wanted->second.end());
  }
  if (found != observe.size())
    for (const auto& [name, needs] : observe)
      if (std::none_of(groups.begin(), groups.end(), [&](const Watched& g) {
            return std::count(g.ops.begin(), g.ops.end(), name) > 0;
          }))
        throw InputError(name, "is no linear of " + segment.name);
  return groups;
}

SampleStatistics summarise(const at::Tensor& x, const std::set<Need>& needs) {
  SampleStatistics sample;
  const int64_t T = x.size(0), K = x.size(1);
  const float* data = x.data_ptr<float>();
  if (needs.contains(Need::input_absmax)) {
    sample.absmax.assign(static_cast<size_t>(K), 0.0f);
    for (int64_t t = 0; t < T; ++t)
      for (int64_t k = 0; k < K; ++k) {
        float& most = sample.absmax[static_cast<size_t>(k)];
        const float value = std::fabs(data[t * K + k]);
        most = value > most || std::isnan(value) ? value : most;
      }
  }
  if (needs.contains(Need::input_mean)) {
    sample.sum.assign(static_cast<size_t>(K), 0.0);
    for (int64_t t = 0; t < T; ++t)
      for (int64_t k = 0; k < K; ++k)
        sample.sum[static_cast<size_t>(k)] += static_cast<double>(data[t * K + k]);
  }
  if (needs.contains(Need::input_square)) {
    sample.square.assign(static_cast<size_t>(K), 0.0);
    for (int64_t t = 0; t < T; ++t)
      for (int64_t k = 0; k < K; ++k) {
        const double value = static_cast<double>(data[t * K + k]);
        sample.square[static_cast<size_t>(k)] += value * value;
      }
  }
  return sample;
}

Observer::Observer(Watched watched, int64_t sequences)
    : watched_(std::move(watched)), weight_(2.0 / static_cast<double>(sequences)) {
  const auto width = static_cast<size_t>(watched_.width);
  if (watched_.needs.contains(Need::input_hessian))
    statistics_.hessian = std::make_shared<Matrix<double>>(watched_.width, watched_.width);
  if (watched_.needs.contains(Need::input_absmax)) statistics_.absmax.assign(width, 0.0f);
  if (watched_.needs.contains(Need::input_mean)) sum_.assign(width, 0.0);
  if (watched_.needs.contains(Need::input_square)) square_.assign(width, 0.0);
}

void Observer::add(const at::Tensor& x, const SampleStatistics& sample, ThreadPool& pool) {
  const int64_t T = x.size(0), K = x.size(1);
  check(K == watched_.width && x.is_contiguous() && x.scalar_type() == c10::kFloat,
        "an observed input is [T, K] f32");
  statistics_.tokens += T;
  ++statistics_.sequences;
  if (statistics_.hessian)
    linalg::add_gram({x.data_ptr<float>(), static_cast<size_t>(T * K)}, T, K, weight_,
                     *statistics_.hessian, pool);
  for (size_t k = 0; k < statistics_.absmax.size(); ++k) {
    const float value = sample.absmax[k];
    if (value > statistics_.absmax[k] || std::isnan(value)) statistics_.absmax[k] = value;
  }
  for (size_t k = 0; k < sum_.size(); ++k) sum_[k] += sample.sum[k];
  for (size_t k = 0; k < square_.size(); ++k) square_[k] += sample.square[k];
}

recipe::InputStatistics Observer::finish() {
  const auto average = [&](const std::vector<double>& sums, std::vector<float>& out) {
    out.resize(sums.size());
    for (size_t k = 0; k < sums.size(); ++k)
      out[k] = static_cast<float>(sums[k] / static_cast<double>(statistics_.tokens));
  };
  average(sum_, statistics_.mean);
  average(square_, statistics_.square);
  return std::move(statistics_);
}

}  // namespace halftone::calib
