#include "halftone/eval/text_scores.h"

#include <algorithm>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/eval/bleu.h"
#include "halftone/eval/chrf.h"
#include "halftone/eval/rouge.h"

namespace halftone::eval {
namespace {

std::vector<double> sums_of(int64_t width, std::span<const double> rows,
                            std::span<const double> multiplicity = {}) {
  const auto columns = static_cast<size_t>(width);
  std::vector<double> sums(columns);
  for (size_t i = 0; i < rows.size() / columns; ++i) {
    const double times = multiplicity.empty() ? 1 : multiplicity[i];
    if (times == 0) continue;
    for (size_t k = 0; k < columns; ++k) sums[k] += times * rows[i * columns + k];
  }
  return sums;
}

}  // namespace

std::vector<std::string> text_metric_names() { return {"bleu", "chrf", "chrf++", "rougeL"}; }

TextMetric text_metric(std::string_view name, Words words) {
  if (name == "bleu") return bleu_metric(words);
  if (name == "chrf") return chrf_metric(0);
  if (name == "chrf++") return chrf_metric(2);
  if (name == "rougeL") return rouge_metric();
  throw InputError("--metrics", "there is no score " + quote(name),
                   did_you_mean(name, text_metric_names()));
}

std::vector<double> count_items(const TextMetric& metric, std::span<const TextItem> items,
                                const Context& context) {
  std::vector<double> rows(items.size() * static_cast<size_t>(metric.sums));
  context.pool->each(std::ssize(items), [&](int64_t i) {
    const TextItem& item = items[static_cast<size_t>(i)];
    check(!item.references.empty(), "an item has a reference");
    metric.count(item, std::span(rows).subspan(static_cast<size_t>(i * metric.sums),
                                               static_cast<size_t>(metric.sums)));
  });
  return rows;
}

TextScore text_score(const TextMetric& metric, std::span<const double> rows) {
  TextScore out;
  out.sums = sums_of(metric.sums, rows);
  out.value = metric.score(out.sums);
  const int64_t items = std::ssize(rows) / metric.sums;
  if (items > 1)
    out.ci95 = bootstrap(items, [&](std::span<const double> multiplicity) {
      return metric.score(sums_of(metric.sums, rows, multiplicity));
    });
  return out;
}

PairedDifference paired_difference(const TextMetric& metric, std::span<const double> a,
                                   std::span<const double> b) {
  check(a.size() == b.size(), "both systems have all items");
  const auto difference = [&](std::span<const double> multiplicity) {
    return metric.score(sums_of(metric.sums, a, multiplicity)) -
           metric.score(sums_of(metric.sums, b, multiplicity));
  };
  PairedDifference out;
  out.value = difference({});
  const auto draws = resample(std::ssize(a) / metric.sums, 1,
                              [&](std::span<const double> multiplicity, std::span<double> values) {
                                values[0] = difference(multiplicity);
                              })[0];
  out.ci95 = middle(draws);
  const auto far = std::count_if(draws.begin(), draws.end(), [&](double draw) {
    return std::abs(draw - out.value) >= std::abs(out.value);
  });
  out.p = static_cast<double>(far + 1) / static_cast<double>(std::ssize(draws) + 1);
  return out;
}

}  // namespace halftone::eval
