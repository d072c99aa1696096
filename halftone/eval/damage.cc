#include "halftone/eval/damage.h"

#include <algorithm>
#include <cmath>

#include "halftone/base/error.h"

namespace halftone::eval {

std::vector<UnitDamage> unit_damage(LogitSource& reference, double whole_kl,
                                    std::span<const std::string> units, const MixedSource& mixed,
                                    std::span<const int32_t> ids, const Protocol& protocol,
                                    const Context& context) {
  std::vector<UnitDamage> out(units.size());
  Context inner = context;  // one bar for all walks
  inner.progress = [](const Progress&) {};
  const auto kl = [&](size_t unit, bool only) {
    const double done = 2 * static_cast<double>(unit) + (only ? 0 : 1);
    context.progress(
        {"damage", units[unit], done, 2 * static_cast<double>(units.size()), "passes"});
    try {
      const auto source = mixed(unit, only);
      LogitSource* candidate = source.get();
      return divergence(reference, {&candidate, 1}, ids, protocol, inner)[0].kl_mean;
    } catch (Error& e) {
      throw e.note(units[unit]);
    }
  };
  for (size_t u = 0; u < units.size(); ++u) {
    out[u].only = kl(u, true);
    out[u].without = kl(u, false);
    out[u].saved = whole_kl > 0 ? (whole_kl - out[u].without) / whole_kl : 0;
  }
  return out;
}

Damage damage(LogitSource& reference, LogitSource& quantized, std::span<const std::string> units,
              const MixedSource& mixed, std::span<const int32_t> ids, const Protocol& protocol,
              const Context& context) {
  Damage out;
  LogitSource* candidate = &quantized;
  out.whole = divergence(reference, {&candidate, 1}, ids, protocol, context)[0];
  out.units = unit_damage(reference, out.whole.kl_mean, units, mixed, ids, protocol, context);
  return out;
}

double median_row_error(const Matrix<float>& reference, const Matrix<float>& quantized) {
  check(reference.rows == quantized.rows && reference.cols == quantized.cols,
        "hidden states of one shape are compared");
  std::vector<double> errors;
  for (int64_t r = 0; r < reference.rows; ++r) {
    const auto a = reference.row(r), b = quantized.row(r);
    double square = 0, apart = 0;
    for (size_t k = 0; k < a.size(); ++k) {
      const double x = static_cast<double>(a[k]), d = static_cast<double>(b[k]) - x;
      square += x * x;
      apart += d * d;
    }
    errors.push_back(square > 0 ? std::sqrt(apart / square) : apart > 0 ? 1 : 0);
  }
  if (errors.empty()) return 0;
  const auto middle = errors.begin() + std::ssize(errors) / 2;
  std::nth_element(errors.begin(), middle, errors.end());
  return *middle;
}

std::optional<int64_t> first_divergence(std::span<const double> errors) {
  const auto found =
      std::find_if(errors.begin(), errors.end(), [](double e) { return !(e <= kDiverges); });
  if (found == errors.end()) return {};
  return found - errors.begin();
}

}  // namespace halftone::eval
