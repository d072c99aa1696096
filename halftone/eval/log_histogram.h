// Percentiles of any number of values in 48 KB: counts in bins of equal ratio, 128 a doubling (the
// upper bits of a float). A percentile is interpolated within its bin and off by 0.8 % at most; the
// maximum is exact. Values below 2^-40 count as 0, those from 2^8 on as that.
#pragma once

#include <cstdint>
#include <vector>

#include "halftone/base/json.h"

namespace halftone::eval {

class LogHistogram {
 public:
  LogHistogram();
  void add(double value);  // not negative, not NaN
  void add(const LogHistogram& other);
  int64_t count() const { return count_; }
  double max() const { return max_; }
  // As eval/bootstrap.h's of the values, one at least.
  double percentile(double p) const;

  // [max, bin, count, bin, count, ...] of the bins that are not empty, and back: a value error of
  // the JSON library when it is none of ours.
  Json json() const;
  static LogHistogram from(const Json& json);

 private:
  double value_at(int64_t rank) const;
  std::vector<int64_t> counts_;
  int64_t count_ = 0;
  double max_ = 0;
};

}  // namespace halftone::eval
