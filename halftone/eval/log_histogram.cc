#include "halftone/eval/log_histogram.h"

#include <algorithm>
#include <bit>

#include "halftone/base/error.h"

namespace halftone::eval {
namespace {

// Sign and exponent and 7 bits of the fraction: neighbouring bins are neighbouring numbers.
constexpr int kShift = 16;
constexpr int64_t bits_of(float x) { return std::bit_cast<uint32_t>(x) >> kShift; }
constexpr int64_t kFirst = bits_of(0x1p-40f), kBins = bits_of(0x1p8f) - kFirst;

int64_t bin_of(double value) {
  return std::clamp<int64_t>(bits_of(static_cast<float>(value)) - kFirst + 1, 0, kBins);
}
double lower_end(int64_t bin) {
  return static_cast<double>(
      std::bit_cast<float>(static_cast<uint32_t>(bin - 1 + kFirst) << kShift));
}

}  // namespace

LogHistogram::LogHistogram() : counts_(static_cast<size_t>(kBins + 1)) {}

void LogHistogram::add(double value) {
  ++counts_[static_cast<size_t>(bin_of(value))];
  ++count_;
  max_ = std::max(max_, value);
}

void LogHistogram::add(const LogHistogram& other) {
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  max_ = std::max(max_, other.max_);
}

double LogHistogram::value_at(int64_t rank) const {
  if (rank == count_ - 1) return max_;
  int64_t before = 0;
  size_t bin = 0;
  while (before + counts_[bin] <= rank) before += counts_[bin++];
  if (bin == 0) return 0;
  const auto at = static_cast<int64_t>(bin);
  const double low = lower_end(at), share = (static_cast<double>(rank - before) + 0.5) /
                                            static_cast<double>(counts_[bin]);
  return std::min(max_, low + share * (lower_end(at + 1) - low));
}

double LogHistogram::percentile(double p) const {
  check(count_ > 0 && p >= 0 && p <= 1, "a percentile needs values");
  const double place = p * static_cast<double>(count_ - 1);
  const auto low = static_cast<int64_t>(place);
  const double a = value_at(low);
  if (low + 1 == count_) return a;
  return a + (value_at(low + 1) - a) * (place - static_cast<double>(low));
}

Json LogHistogram::json() const {
  Json out = Json::array({max_});
  for (size_t i = 0; i < counts_.size(); ++i)
    if (counts_[i] > 0) out.insert(out.end(), {Json(i), Json(counts_[i])});
  return out;
}

LogHistogram LogHistogram::from(const Json& json) {
  LogHistogram out;
  out.max_ = json.at(0).get<double>();
  for (size_t i = 1; i < json.size(); i += 2) {
    const auto n = json.at(i + 1).get<int64_t>();
    out.counts_[std::min(json.at(i).get<size_t>(), out.counts_.size() - 1)] += n;
    out.count_ += n;
  }
  return out;
}

}  // namespace halftone::eval
