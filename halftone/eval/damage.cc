#include "halftone/eval/damage.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "halftone/base/error.h"

namespace halftone::eval {

std::vector<UnitDamage> unit_damage(LogitSource& reference, double whole_kl,
                                    std::span<const DamageUnit> units, const MixedSource& mixed,
                                    std::span<const int32_t> ids, const Protocol& protocol,
                                    const Context& context, const RunMemory& memory) {
  std::vector<UnitDamage> out(units.size());
  double total = 0, done = 0;
  for (const DamageUnit& unit : units) total += unit.work;
  // {KL with it alone, KL without it}
  const auto walk = [&](size_t u) -> std::array<double, 2> {
    Context inner = context;  // one bar for all walks
    inner.progress = [&](const Progress& p) {
      context.progress(
          {"damage", units[u].name, done + units[u].work * p.done / p.total, total, ""});
    };
    try {
      const auto only = mixed(u, true), without = mixed(u, false);
      LogitSource* const candidates[] = {only.get(), without.get()};
      const auto found = divergence(reference, candidates, ids, protocol, inner);
      return {found[0].kl_mean, found[1].kl_mean};
    } catch (Error& e) {
      throw e.note(units[u].name);
    }
  };
  for (size_t u = 0; u < units.size(); ++u) {
    const uint64_t key =
        memory_key("damage " + units[u].name + ", " + std::to_string(protocol.windows.size()) +
                       " windows of " + protocol.name,
                   ids, 0);
    const auto kl =
        remembered(memory, key, [&] { return Json(walk(u)); }).get<std::array<double, 2>>();
    out[u] = {
        .only = kl[0], .without = kl[1], .saved = whole_kl > 0 ? (whole_kl - kl[1]) / whole_kl : 0};
    done += units[u].work;
  }
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
