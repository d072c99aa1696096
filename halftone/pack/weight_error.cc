#include "halftone/pack/weight_error.h"

#include <algorithm>
#include <cmath>

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
    const double bin = static_cast<double>(v) * per_unit + bins / 2;
    ++out.counts[static_cast<size_t>(std::clamp(bin, 0.0, bins - 1))];
  }
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

// Of weights that are finite.
WeightError row_of(const spec::LinearRef& linear, const Matrix<float>& w) {
  return {.op = linear.op->name,
          .role = std::string(spec::role_name(linear.linear().role)),
          .block = linear.segment,
          .refused = {},
          .weights = histogram(w.data),
          .inputs = channel_sizes(w, ChannelMeasure::largest)};
}

double relative_error(const Matrix<float>& reference, const Matrix<float>& w) {
  check(w.rows == reference.rows && w.cols == reference.cols, "weights of one shape are compared");
  double square = 0, apart = 0;
  for (size_t i = 0; i < w.data.size(); ++i) {
    const double x = static_cast<double>(reference.data[i]), d = static_cast<double>(w.data[i]) - x;
    square += x * x;
    apart += d * d;
  }
  return square > 0 ? std::sqrt(apart / square) : apart > 0 ? 1 : 0;
}

}  // namespace

std::vector<std::vector<WeightError>> weight_errors(std::span<const PackedModel* const> models,
                                                    const PackedModel* reference,
                                                    const Context& context) {
  const auto linears_of = [](const PackedModel& m) { return spec::linears(m.checkpoint().spec); };
  std::vector<std::vector<spec::LinearRef>> linears;
  std::vector<std::vector<WeightError>> out;
  for (const PackedModel* model : models) {
    linears.push_back(linears_of(*model));
    out.emplace_back(linears.back().size());
  }
  const auto theirs = reference == nullptr ? linears.at(0) : linears_of(*reference);
  for (const auto& each : linears)
    check(each.size() == theirs.size(), "weights of models with the same ops are compared");
  context.pool->each(std::ssize(theirs), [&](int64_t at) {
    const auto i = static_cast<size_t>(at);
    context.throw_if_stopped();
    Matrix<float> w, whole;
    int64_t whole_not_finite = 0;
    if (reference != nullptr) {
      whole = effective_weight(reference->linear(*theirs[i].op));
      whole_not_finite = clean(whole);
    }
    for (size_t m = 0; m < models.size(); ++m) {
      WeightError& row = out[m][i];
      const spec::LinearRef& linear = linears[m][i];
      if (models[m] == reference) {
        row = row_of(linear, whole);
        row.not_finite = whole_not_finite;
        continue;
      }
      try {
        w = effective_weight(models[m]->linear(*linear.op));
      } catch (const Error& e) {
        if (e.code() == Code::interrupted) throw;
        row = row_of(linear, {});
        row.refused = e;
        continue;
      }
      const int64_t not_finite = clean(w);
      row = row_of(linear, w);
      row.not_finite = not_finite;
      if (reference != nullptr) row.relative = relative_error(whole, w);
    }
  });
  return out;
}

}  // namespace halftone::pack
