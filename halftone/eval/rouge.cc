#include "halftone/eval/rouge.h"

#include <algorithm>

#include "halftone/eval/ngrams.h"
#include "halftone/eval/python_text.h"

namespace halftone::eval {
namespace {

// Runs of [a-z0-9] of the text in lower case. Two characters beyond ASCII have one of these in
// theirs: I with a dot, and the Kelvin sign.
std::vector<std::string> rouge_words(std::string_view text) {
  std::vector<std::string> out;
  bool inside = false;
  for (const char32_t c : characters(text)) {
    const char32_t lower = c >= 'A' && c <= 'Z' ? c + 32 : c == 0x130 ? 'i' : c == 0x212a ? 'k' : c;
    const bool taken = (lower >= 'a' && lower <= 'z') || (lower >= '0' && lower <= '9');
    if (taken && !inside) out.emplace_back();
    if (taken) out.back() += static_cast<char>(lower);
    inside = taken && c != 0x130;  // a combining dot follows it
  }
  return out;
}

int64_t longest_common_subsequence(std::u32string_view a, std::u32string_view b) {
  std::vector<int64_t> row(b.size() + 1);
  for (const char32_t x : a) {
    int64_t diagonal = 0;
    for (size_t j = 0; j < b.size(); ++j) {
      const int64_t above = row[j + 1];
      row[j + 1] = x == b[j] ? diagonal + 1 : std::max(above, row[j]);
      diagonal = above;
    }
  }
  return row.back();
}

// Row: 1, precision, recall, F1.
void count_rouge(const TextItem& item, std::span<double> row) {
  Numbers numbers;
  const std::u32string text = numbers.of(rouge_words(item.text));
  double best = -1;
  for (const std::string& reference : item.references) {
    const std::u32string target = numbers.of(rouge_words(reference));
    double precision = 0, recall = 0, f1 = 0;
    if (!text.empty() && !target.empty()) {
      const auto common = static_cast<double>(longest_common_subsequence(target, text));
      precision = common / static_cast<double>(text.size());
      recall = common / static_cast<double>(target.size());
      if (common > 0) f1 = 2 * precision * recall / (precision + recall);
    }
    if (f1 <= best) continue;
    best = f1;
    row[0] = 1, row[1] = precision, row[2] = recall, row[3] = f1;
  }
}

}  // namespace

TextMetric rouge_metric() {
  const auto f1 = [](std::span<const double> sums) { return sums[3] / sums[0]; };
  return {.name = "rougeL",
          .title = "ROUGE-L",
          .signature = "case:lc|tok:rouge|stem:no|mean:f1",
          .sums = 4,
          .scale = 1,
          .count = count_rouge,
          .score = f1,
          .of_item = f1};
}

}  // namespace halftone::eval
