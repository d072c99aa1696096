#include "halftone/eval/bleu.h"

#include <algorithm>
#include <cmath>

#include "halftone/eval/ngrams.h"

namespace halftone::eval {
namespace {

constexpr size_t kBleuOrder = 4;

// Row: words of the text, of the reference of the closest length, then by order the matched n-grams,
// then all of the text.
void count_bleu(const TextItem& item, Words words, std::span<double> row) {
  Numbers numbers;
  const std::u32string text = numbers.of(split_words(item.text, words));
  std::vector<std::u32string> references;
  for (const std::string& reference : item.references)
    references.push_back(numbers.of(split_words(reference, words)));
  const auto distance = [&](const std::u32string& reference) {
    return std::pair(std::abs(std::ssize(reference) - std::ssize(text)), reference.size());
  };
  row[0] = static_cast<double>(text.size());
  row[1] = static_cast<double>(
      std::min_element(references.begin(), references.end(), [&](const auto& a, const auto& b) {
        return distance(a) < distance(b);  // the shorter one on ties
      })->size());
  for (size_t n = 1; n <= kBleuOrder; ++n) {
    Grams known;
    for (const std::u32string& reference : references)
      known = either(known, grams_of(reference, n));
    row[1 + n] = static_cast<double>(matches(grams_of(text, n), known));
    row[1 + kBleuOrder + n] = count_of(text, n);
  }
}

}  // namespace

Bleu bleu(std::span<const double> sums, bool effective_order) {
  Bleu out;
  out.length = static_cast<int64_t>(sums[0]);
  out.reference_length = static_cast<int64_t>(sums[1]);
  if (sums[0] < sums[1]) out.brevity_penalty = sums[0] > 0 ? std::exp(1 - sums[1] / sums[0]) : 0;
  const auto matched = sums.subspan(2, kBleuOrder), all = sums.subspan(2 + kBleuOrder, kBleuOrder);
  if (std::all_of(matched.begin(), matched.end(), [](double n) { return n == 0; })) return out;
  double smooth = 1;
  size_t orders = kBleuOrder;
  for (size_t n = 0; n < kBleuOrder && all[n] > 0; ++n) {
    if (effective_order) orders = n + 1;
    if (matched[n] == 0) smooth *= 2;
    out.precisions[n] = matched[n] == 0 ? 100 / (smooth * all[n]) : 100 * matched[n] / all[n];
  }
  double logs = 0;
  for (size_t n = 0; n < orders; ++n)
    logs += out.precisions[n] > 0 ? std::log(out.precisions[n]) : -9999999999;  // sacrebleu's floor
  out.score = out.brevity_penalty * std::exp(logs / static_cast<double>(orders));
  return out;
}

TextMetric bleu_metric(Words words) {
  return {.name = "bleu",
          .title = "BLEU",
          .signature =
              "case:mixed|eff:no|tok:" + words_names()[static_cast<size_t>(words)] + "|smooth:exp",
          .sums = 2 + 2 * kBleuOrder,
          .count = [words](const TextItem& item,
                           std::span<double> row) { count_bleu(item, words, row); },
          .score = [](std::span<const double> sums) { return bleu(sums, false).score; },
          .of_item = [](std::span<const double> row) { return bleu(row, true).score; }};
}

}  // namespace halftone::eval
