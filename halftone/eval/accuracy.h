// Shares of right answers, with their errors.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/json.h"
#include "halftone/eval/bootstrap.h"
#include "halftone/eval/task.h"

namespace halftone::eval {

// Mean of 0/1 values with lm-eval's standard error and a bootstrap interval over items.
struct Accuracy {
  double value = 0;
  std::optional<double> standard_error;  // two items at least
  std::optional<Interval> ci95;
};
Accuracy accuracy(std::span<const double> values);
// Several sets as one: the mean weighs every item the same, the standard error is pooled over sets
// (lm-eval's pooled_sample_stderr).
class Pool {
 public:
  void add(const std::vector<double>& values);
  Accuracy value() const;
  const std::vector<double>& values() const { return values_; }

 private:
  std::vector<double> values_;
  double squares_ = 0;
  int64_t sets_ = 0;
  bool every_error_ = true;
};
// {"acc": .., "acc_stderr": .., "acc_ci95": ..} into `json`, and as a metric.
void report(const std::string& name, const Accuracy& value, Json& json,
            std::vector<Metric>& metrics);

}  // namespace halftone::eval
