// Text against reference texts, over many items: BLEU and chrF to the definitions of sacrebleu 2
// (its defaults), ROUGE-L to that of the package rouge-score (no stemmer).
//
//   bleu     Papineni et al. 2002; Post 2018, arXiv:1804.08771. Orders 1 to 4, exponential
//            smoothing, the closest reference length; of one item with effective order.  0 to 100
//   chrf     Popovic 2015: character n-grams of orders 1 to 6, no spaces, beta 2.        0 to 100
//   chrf++   Popovic 2017: word n-grams of orders 1 and 2 besides.                       0 to 100
//   rougeL   Lin 2004: F1 of the longest common subsequence of words, mean over items.   0 to 1
//
// Of several references, BLEU clips by the largest count of any, chrF and ROUGE-L take the best one.
// What an item adds is a row of sums, and a score of many items is a function of the sums of their
// rows: so a bootstrap over items costs no second look at the text. Example:
//
//     const TextMetric bleu = text_metric("bleu");
//     const std::vector<double> rows = count_items(bleu, items, context);
//     const TextScore score = text_score(bleu, rows);    // score.value, score.ci95
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/eval/bleu_words.h"
#include "halftone/eval/bootstrap.h"

namespace halftone::eval {

struct TextItem {
  std::string text;                     // UTF-8, as all texts
  std::vector<std::string> references;  // one at least; an empty one is a reference without words
};

struct TextMetric {
  std::string name;       // as it is asked for
  std::string title;      // as sacrebleu prints it: "BLEU", "chrF2", "chrF2++"; "ROUGE-L"
  std::string signature;  // sacrebleu's, from "case:" on and without its version
  int64_t sums = 0;       // a row
  double scale = 100;     // the best score there is
  std::function<void(const TextItem& item, std::span<double> row)> count;
  std::function<double(std::span<const double> sums)> score;  // of all items
  std::function<double(std::span<const double> row)> of_item;
};
std::vector<std::string> text_metric_names();
// InputError, with the nearest name, for one that there is not. `words`: of BLEU.
TextMetric text_metric(std::string_view name, Words words = Words::v13a);

// [items, metric.sums], in parallel. The metric and the items stay as they are.
std::vector<double> count_items(const TextMetric& metric, std::span<const TextItem> items,
                                const Context& context);

struct TextScore {
  double value = 0;
  std::optional<Interval> ci95;  // two items at least
  std::vector<double> sums;
};
TextScore text_score(const TextMetric& metric, std::span<const double> rows);

// Two systems on the same items: paired bootstrap (Koehn 2004). p is two-sided, of the draws'
// differences moved to a mean of no difference.
struct PairedDifference {
  double value = 0;  // a - b
  Interval ci95{};
  double p = 1;
};
PairedDifference paired_difference(const TextMetric& metric, std::span<const double> a,
                                   std::span<const double> b);

}  // namespace halftone::eval
