#include "halftone/eval/classification.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "halftone/base/error.h"

namespace halftone::eval {
namespace {

std::optional<int64_t> whole_number(const std::string& label) {
  int64_t out = 0;
  const char* end = label.data() + label.size();
  const auto [stop, error] = std::from_chars(label.data(), end, out);
  if (error != std::errc() || stop != end) return std::nullopt;
  return out;
}

std::vector<std::string> labels_of(std::span<const std::string> right,
                                   std::span<const std::string> predicted) {
  std::set<std::string> found(right.begin(), right.end());
  found.insert(predicted.begin(), predicted.end());
  std::vector<std::string> out(found.begin(), found.end());
  if (std::all_of(out.begin(), out.end(), whole_number))
    std::stable_sort(out.begin(), out.end(), [](const std::string& a, const std::string& b) {
      return whole_number(a) < whole_number(b);
    });
  return out;
}

double ratio(double a, double b) { return b > 0 ? a / b : 0; }

// Of one sample, by label.
struct Tally {
  std::vector<double> right, support, predicted;
};

// Values in one order, so that a draw of the bootstrap is a row: accuracy, macro, weighted, then by
// label, each of these precision, recall, F1.
void write_values(const Tally& t, std::span<double> out) {
  double items = 0, hits = 0, present = 0;
  double macro[3] = {}, weighted[3] = {};
  for (size_t k = 0; k < t.right.size(); ++k) {
    const double three[] = {ratio(t.right[k], t.predicted[k]), ratio(t.right[k], t.support[k]),
                            ratio(2 * t.right[k], t.predicted[k] + t.support[k])};
    items += t.support[k];
    hits += t.right[k];
    present += t.support[k] + t.predicted[k] > 0;
    for (size_t i = 0; i < 3; ++i) {
      out[7 + 3 * k + i] = three[i];
      macro[i] += three[i];
      weighted[i] += three[i] * t.support[k];
    }
  }
  out[0] = hits / items;
  for (size_t i = 0; i < 3; ++i) out[1 + i] = macro[i] / present, out[4 + i] = weighted[i] / items;
}

// log C(n, k) / 2^n summed up to k: the lower tail of a fair coin. By logarithms, so that thousands
// of items neither overflow nor vanish.
double lower_tail(int64_t n, int64_t k) {
  const auto log_choose = [](double m, double j) {
    return std::lgamma(m + 1) - std::lgamma(j + 1) - std::lgamma(m - j + 1);
  };
  double sum = 0;
  for (int64_t i = 0; i <= k; ++i)
    sum += std::exp(log_choose(static_cast<double>(n), static_cast<double>(i)) -
                    static_cast<double>(n) * std::log(2.0));
  return sum;
}

}  // namespace

Classification classify(std::span<const std::string> right,
                        std::span<const std::string> predicted) {
  check(!right.empty() && right.size() == predicted.size(), "every item has two labels");
  Classification out;
  out.items = std::ssize(right);
  out.labels = labels_of(right, predicted);
  const size_t n = out.labels.size();
  if (std::ssize(out.labels) > kMaxLabels)
    throw InputError("labels",
                     "there are " + std::to_string(n) + " different ones, more than " +
                         std::to_string(kMaxLabels),
                     "give texts with --reference, or labels of fewer kinds");
  std::map<std::string, size_t> index;
  for (size_t k = 0; k < n; ++k) index[out.labels[k]] = k;
  std::vector<std::pair<size_t, size_t>> items;  // labels: the right one, the predicted one
  for (size_t i = 0; i < right.size(); ++i)
    items.emplace_back(index.at(right[i]), index.at(predicted[i]));
  out.confusion.resize(n * n);
  out.support.resize(n);
  out.predicted.resize(n);
  for (const auto& [r, p] : items) {
    ++out.confusion[r * n + p];
    ++out.support[r];
    ++out.predicted[p];
  }

  Tally tally;
  const auto values = [&](std::span<const double> multiplicity, std::span<double> row) {
    for (auto* part : {&tally.right, &tally.support, &tally.predicted}) part->assign(n, 0);
    for (size_t i = 0; i < items.size(); ++i) {
      const auto& [r, p] = items[i];
      tally.support[r] += multiplicity[i];
      tally.predicted[p] += multiplicity[i];
      if (r == p) tally.right[r] += multiplicity[i];
    }
    write_values(tally, row);
  };
  const size_t width = 7 + 3 * n;
  std::vector<double> whole(width);
  values(std::vector<double>(items.size(), 1.0), whole);
  std::vector<std::vector<double>> draws(width);
  if (items.size() > 1) draws = resample(out.items, static_cast<int64_t>(width), values);
  const auto rate = [&](size_t at) {
    Rate r{whole[at], {}};
    if (!draws[at].empty()) r.ci95 = middle(std::move(draws[at]));
    return r;
  };
  const auto three = [&](size_t at) { return LabelScores{rate(at), rate(at + 1), rate(at + 2)}; };
  out.accuracy = rate(0);
  out.macro = three(1);
  out.weighted = three(4);
  for (size_t k = 0; k < n; ++k) out.by_label.push_back(three(7 + 3 * k));
  return out;
}

double exact_mcnemar(int64_t only_first, int64_t only_second) {
  const int64_t parted = only_first + only_second;
  return parted == 0 ? 1 : std::min(1.0, 2 * lower_tail(parted, std::min(only_first, only_second)));
}

McNemar mcnemar(std::span<const std::string> right, std::span<const std::string> first,
                std::span<const std::string> second) {
  check(right.size() == first.size() && right.size() == second.size(), "every item has all labels");
  McNemar out;
  for (size_t i = 0; i < right.size(); ++i) {
    const bool a = first[i] == right[i], b = second[i] == right[i];
    ++(a ? (b ? out.both : out.only_first) : (b ? out.only_second : out.neither));
  }
  const int64_t parted = out.only_first + out.only_second;
  if (parted == 0) return out;
  out.exact_p = exact_mcnemar(out.only_first, out.only_second);
  const auto apart = static_cast<double>(std::abs(out.only_first - out.only_second));
  out.statistic = std::pow(std::max(0.0, apart - 1), 2) / static_cast<double>(parted);
  out.p = std::erfc(std::sqrt(out.statistic / 2));
  return out;
}

}  // namespace halftone::eval
