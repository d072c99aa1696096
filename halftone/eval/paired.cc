#include "halftone/eval/paired.h"

#include <algorithm>
#include <numeric>

#include "halftone/base/error.h"
#include "halftone/eval/classification.h"

namespace halftone::eval {

PairedChange paired_change(std::span<const uint8_t> reference, std::span<const uint8_t> candidate) {
  check(reference.size() == candidate.size(), "both have answered every item");
  PairedChange out{.n = std::ssize(reference)};
  if (out.n == 0) return out;
  int64_t right = 0;
  std::vector<double> changes(reference.size());
  for (size_t i = 0; i < reference.size(); ++i) {
    right += reference[i] != 0;
    out.lost += reference[i] && !candidate[i];
    out.won += !reference[i] && candidate[i];
    changes[i] = static_cast<double>(candidate[i] != 0) - static_cast<double>(reference[i] != 0);
  }
  const auto n = static_cast<double>(out.n);
  out.reference = static_cast<double>(right) / n;
  out.value = static_cast<double>(right - out.lost + out.won) / n;
  out.change = static_cast<double>(out.won - out.lost) / n;
  if (out.n > 1)
    out.ci95 = bootstrap(out.n, [&](std::span<const double> multiplicity) {
      return std::inner_product(changes.begin(), changes.end(), multiplicity.begin(), 0.0) / n;
    });
  out.p = exact_mcnemar(out.lost, out.won);
  return out;
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  std::vector<double> out(p.size());
  double above = 0;  // an adjusted value is not below that of a smaller p
  for (size_t i = 0; i < order.size(); ++i) {
    above = std::max(above, std::min(1.0, p[order[i]] * static_cast<double>(p.size() - i)));
    out[order[i]] = above;
  }
  return out;
}

std::string_view verdict(double change, double p_holm) {
  if (p_holm >= kShown || change == 0) return "no difference shown";
  return change < 0 ? "worse" : "better";
}

}  // namespace halftone::eval
