#include "halftone/pack/weight_error.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"

namespace halftone::pack {

Histogram histogram(std::span<const float> values) {
  Histogram out;
  double square = 0;
  for (const float v : values) square += static_cast<double>(v) * static_cast<double>(v);
  if (values.empty() || square == 0) return out;
  out.rms = std::sqrt(square / static_cast<double>(values.size()));
  const double bins = Histogram::kBins, per_unit = bins / (2 * Histogram::kReach) / out.rms;
  for (const float v : values) {
    const double bin = std::floor(static_cast<double>(v) * per_unit + bins / 2);
    ++out.counts[static_cast<size_t>(std::clamp(bin, 0.0, bins - 1))];
  }
  return out;
}

ChannelSizes channel_sizes(const Matrix<float>& m) {
  std::vector<double> sizes(static_cast<size_t>(m.cols), 0.0);
  for (int64_t r = 0; r < m.rows; ++r) {
    const auto row = m.row(r);
    for (size_t k = 0; k < sizes.size(); ++k)
      sizes[k] += static_cast<double>(row[k]) * static_cast<double>(row[k]);
  }
  ChannelSizes out;
  if (sizes.empty() || m.rows == 0) return out;
  for (double& s : sizes) s = std::sqrt(s / static_cast<double>(m.rows));
  std::vector<int64_t> order(sizes.size());
  std::iota(order.begin(), order.end(), 0);
  const auto size = [&](int64_t channel) { return sizes[static_cast<size_t>(channel)]; };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return size(a) > size(b); });
  const auto at = [&](double share) {  // of the channels that are smaller
    const auto last = static_cast<double>(order.size() - 1);
    return size(order[static_cast<size_t>(std::lround((1 - share) * last))]);
  };
  out = {.p1 = at(0.01), .q1 = at(0.25), .median = at(0.5), .q3 = at(0.75), .p99 = at(0.99)};
  for (const int64_t k : order) {
    if (out.worst.size() < 8) out.worst.emplace_back(k, size(k));
    if (out.median > 0 && size(k) > kOutlier * out.median) ++out.count;
  }
  if (out.median > 0) out.ratio = out.worst[0].second / out.median;
  return out;
}

namespace {

// Zeroes what is not finite; returns how many there were.
int64_t clean(Matrix<float>& m) {
  int64_t bad = 0;
  for (float& v : m.data)
    if (!std::isfinite(v)) v = 0, ++bad;
  return bad;
}

WeightError row_of(const spec::Op& op, const PackedModel& model, const PackedModel* reference) {
  const auto& params = std::get<spec::Linear>(op.params);
  WeightError out{.op = op.name, .role = std::string(spec::role_name(params.role))};
  Matrix<float> w;
  try {
    w = effective_weight(model.linear(op));
  } catch (const Error& e) {
    if (e.code() == Code::interrupted) throw;
    out.refused = e.what();
    return out;
  }
  out.not_finite = clean(w);
  out.weights = histogram(w.data);
  const spec::Op* theirs =
      reference == nullptr ? nullptr : spec::find_op(reference->checkpoint().spec, op.name);
  if (theirs == nullptr) {
    out.inputs = channel_sizes(w);
    return out;
  }
  Matrix<float> r = effective_weight(reference->linear(*theirs));
  check(w.rows == r.rows && w.cols == r.cols, "weights of one shape are compared");
  clean(r);
  double square = 0, apart = 0;
  for (size_t i = 0; i < r.data.size(); ++i) {
    const double x = static_cast<double>(r.data[i]), d = static_cast<double>(w.data[i]) - x;
    square += x * x;
    apart += d * d;
  }
  out.relative = square > 0 ? std::sqrt(apart / square) : apart > 0 ? 1 : 0;
  out.inputs = channel_sizes(r);
  return out;
}

}  // namespace

std::vector<WeightError> weight_errors(const PackedModel& model, const PackedModel* reference,
                                       const Context& context) {
  const auto linears = spec::linears(model.checkpoint().spec);
  std::vector<WeightError> out(linears.size());
  context.pool->each(std::ssize(linears), [&](int64_t i) {
    const spec::Op& op = *linears[static_cast<size_t>(i)].op;
    context.throw_if_stopped();
    out[static_cast<size_t>(i)] = row_of(op, model, reference);
  });
  return out;
}

}  // namespace halftone::pack
