#include "halftone/eval/accuracy.h"

#include <cmath>
#include <numeric>

namespace halftone::eval {
namespace {
double mean_of(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}
// Of the mean: sample standard deviation / sqrt(n).
std::optional<double> standard_error(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const auto n = static_cast<double>(values.size());
  const double mean = mean_of(values);
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / (n - 1)) / std::sqrt(n);
}
}  // namespace

void Pool::add(const std::vector<double>& values) {
  if (values.empty()) return;
  const auto n = static_cast<double>(values.size());
  values_.insert(values_.end(), values.begin(), values.end());
  ++sets_;
  const auto error = standard_error(values);
  every_error_ &= error.has_value();
  if (error) squares_ += (n - 1) * *error * *error * n;
}

Accuracy Pool::value() const {
  Accuracy out = accuracy(values_);
  if (sets_ < 2) return out;
  const auto n = static_cast<double>(values_.size());
  out.standard_error.reset();
  if (every_error_) out.standard_error = std::sqrt(squares_ / (n - static_cast<double>(sets_)) / n);
  return out;
}

Accuracy accuracy(std::span<const double> values) {
  Accuracy out;
  const auto n = static_cast<double>(values.size());
  if (values.empty()) return out;
  out.value = mean_of(values);
  if (values.size() < 2) return out;
  out.standard_error = standard_error(values);
  out.ci95 = bootstrap(std::ssize(values), [&](std::span<const double> multiplicity) {
    return std::inner_product(values.begin(), values.end(), multiplicity.begin(), 0.0) / n;
  });
  return out;
}

void report(const std::string& name, const Accuracy& value, Json& json,
            std::vector<Metric>& metrics) {
  json[name] = value.value;
  json[name + "_stderr"] = value.standard_error ? Json(*value.standard_error) : Json();
  json[name + "_ci95"] = value.ci95 ? Json(*value.ci95) : Json();
  metrics.push_back({name, value.value, value.ci95, value.standard_error});
}

}  // namespace halftone::eval
