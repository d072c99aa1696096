#include "halftone/cli/sweep_options.h"

#include <algorithm>
#include <cmath>

#include "halftone/base/error.h"

namespace halftone::cli {
namespace {

double number_of(const char* option, const std::string& word) {
  try {
    size_t used = 0;
    const double value = std::stod(word, &used);
    if (used == word.size() && std::isfinite(value)) return value;
  } catch (const std::exception&) {
  }
  throw InputError(option, quote(word) + " is not a number", "write 50:500:50, or 0.1,0.5,1");
}

}  // namespace

std::vector<double> values_of(const char* option, const std::string& text) {
  constexpr size_t kMost = 10000;
  std::vector<double> out;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    const std::string item = text.substr(at, comma - at);
    at = comma + 1;
    const size_t one = item.find(':'), two = one == item.npos ? one : item.find(':', one + 1);
    if (one == item.npos) {
      out.push_back(number_of(option, item));
      continue;
    }
    if (two == item.npos)
      throw InputError(option, quote(item) + " is no range", "write first:last:step");
    const double first = number_of(option, item.substr(0, one)),
                 last = number_of(option, item.substr(one + 1, two - one - 1)),
                 step = number_of(option, item.substr(two + 1));
    if (!(step > 0) || last < first || (last - first) / step > static_cast<double>(kMost))
      throw InputError(option, quote(item) + " is no range", "write first:last:step, step above 0");
    for (int64_t i = 0; static_cast<double>(i) <= (last - first) / step + 1e-6; ++i)
      // 0.1 + 2 * 0.1 is meant to be 0.3
      out.push_back(std::round((first + static_cast<double>(i) * step) * 1e9) / 1e9);
  }
  return out;
}

std::vector<int64_t> whole_values_of(const char* option, const std::string& text) {
  std::vector<int64_t> out;
  for (const double value : values_of(option, text)) {
    if (value != std::floor(value) || std::abs(value) > 1e9)
      throw InputError(option, Json(value).dump() + " is not a whole number");
    out.push_back(static_cast<int64_t>(value));
  }
  return out;
}

eval::SweepShard shard_of(const std::string& text) {
  if (text.empty()) return {};
  const size_t slash = text.find('/');
  if (slash == text.npos) throw InputError("--shard " + text, "is no shard", "write 1/4 to 4/4");
  const double i = number_of("--shard", text.substr(0, slash)),
               n = number_of("--shard", text.substr(slash + 1));
  if (i != std::floor(i) || n != std::floor(n) || i < 1 || n > 1e6 || i > n)
    throw InputError("--shard " + text, "is no shard", "write 1/4 to 4/4");
  return {static_cast<int64_t>(i), static_cast<int64_t>(n)};
}

}  // namespace halftone::cli
