// Predicted labels against right ones: what scikit-learn's metrics give with zero_division=0, with
// intervals by bootstrap over items; and McNemar's test of two predictions of the same items.
//
//   precision = right / predicted, recall = right / support, F1 = 2 right / (predicted + support),
//   each 0 where nothing can be divided; macro: mean over labels, weighted: by support
//
// Labels are texts; they are ordered as numbers where all are whole numbers, else by bytes. Labels
// that occur on one side only count as scikit-learn counts them: in every mean. A draw of the
// bootstrap is a sample of its own, so labels that it lacks count in none of its means.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/eval/bootstrap.h"

namespace halftone::eval {

constexpr int64_t kMaxLabels = 1000;  // more are texts that were taken for labels

struct Rate {
  double value = 0;
  std::optional<Interval> ci95;  // two items at least
};
struct LabelScores {
  Rate precision, recall, f1;
};
struct Classification {
  std::vector<std::string> labels;
  std::vector<int64_t> confusion;  // [right][predicted]
  std::vector<int64_t> support, predicted;
  std::vector<LabelScores> by_label;
  Rate accuracy;
  LabelScores macro, weighted;
  int64_t items = 0;
};
// InputError when there are more than kMaxLabels.
Classification classify(std::span<const std::string> right, std::span<const std::string> predicted);

// McNemar 1947 on the items where one of two predictions is right and the other wrong.
struct McNemar {
  int64_t both = 0, only_first = 0, only_second = 0, neither = 0;  // right
  double exact_p = 1;    // two-sided binomial with p = 1/2
  double statistic = 0;  // (|only_first - only_second| - 1)^2 / (both of these), not below 0
  double p = 1;          // of the statistic: chi-squared, one degree of freedom
};
// Of the items that only one of two has right: two-sided, 1 where there are none.
double exact_mcnemar(int64_t only_first, int64_t only_second);
McNemar mcnemar(std::span<const std::string> right, std::span<const std::string> first,
                std::span<const std::string> second);

}  // namespace halftone::eval
