#include "halftone/eval/chrf.h"

#include <algorithm>

#include "halftone/eval/ngrams.h"
#include "halftone/eval/python_text.h"

namespace halftone::eval {
namespace {

constexpr size_t kCharacterOrder = 6;
constexpr double kBetaSquared = 4;

// Words of chrF++: a punctuation mark at the end of a word, or else at its beginning, is a word.
std::vector<std::string_view> words_and_marks(std::string_view text) {
  constexpr std::string_view kMarks = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
  const auto is_mark = [&](char c) { return kMarks.find(c) != std::string_view::npos; };
  std::vector<std::string_view> out;
  for (const std::string_view word : split(text)) {
    const size_t n = word.size();
    if (code_points(word) > 1 && is_mark(word[n - 1]))
      out.insert(out.end(), {word.substr(0, n - 1), word.substr(n - 1)});
    else if (code_points(word) > 1 && is_mark(word[0]))
      out.insert(out.end(), {word.substr(0, 1), word.substr(1)});
    else
      out.push_back(word);
  }
  return out;
}

// n-grams by order, those of characters first: of the text, of the reference, of both.
double chrf(std::span<const double> sums) {
  double precision = 0, recall = 0, orders = 0;
  for (size_t i = 0; i < sums.size(); i += 3) {
    if (sums[i] == 0 || sums[i + 1] == 0) continue;
    precision += sums[i + 2] / sums[i];
    recall += sums[i + 2] / sums[i + 1];
    orders += 1;
  }
  if (orders > 0) precision /= orders, recall /= orders;
  if (precision + recall == 0) return 0;
  double score = (1 + kBetaSquared) * precision * recall;
  score /= kBetaSquared * precision + recall;
  return 100 * score;
}

struct Sequences {
  std::u32string characters, words;
};

void count_chrf(const TextItem& item, size_t word_order, std::span<double> row) {
  Numbers numbers;
  const auto sequences = [&](std::string_view text) {
    Sequences out;
    for (const std::string_view word : split(text)) out.characters += characters(word);
    if (word_order > 0) out.words = numbers.of(words_and_marks(text));
    return out;
  };
  const auto each_order = [&](const Sequences& s, const auto& take) {
    for (size_t n = 1; n <= kCharacterOrder; ++n) take(n - 1, s.characters, n);
    for (size_t n = 1; n <= word_order; ++n) take(kCharacterOrder + n - 1, s.words, n);
  };
  const Sequences text = sequences(item.text);
  std::vector<Grams> grams(kCharacterOrder + word_order);
  each_order(text,
             [&](size_t at, const std::u32string& s, size_t n) { grams[at] = grams_of(s, n); });
  std::vector<double> counts(row.size());
  double best = -1;
  for (const std::string& reference : item.references) {
    const Sequences other = sequences(reference);
    each_order(other, [&](size_t at, const std::u32string& s, size_t n) {
      const double known = count_of(s, n);
      const std::u32string& own = at < kCharacterOrder ? text.characters : text.words;
      // An order that the reference has not counts for nothing.
      counts[3 * at] = known > 0 ? count_of(own, n) : 0;
      counts[3 * at + 1] = known;
      counts[3 * at + 2] = static_cast<double>(matches(grams[at], grams_of(s, n)));
    });
    const double score = chrf(counts);
    if (score <= best) continue;
    best = score;
    std::copy(counts.begin(), counts.end(), row.begin());
  }
}

}  // namespace

TextMetric chrf_metric(size_t word_order) {
  return {.name = word_order == 0 ? "chrf" : "chrf++",
          .title = word_order == 0 ? "chrF2" : "chrF2++",
          .signature = "case:mixed|eff:yes|nc:" + std::to_string(kCharacterOrder) +
                       "|nw:" + std::to_string(word_order) + "|space:no",
          .sums = static_cast<int64_t>(3 * (kCharacterOrder + word_order)),
          .count = [word_order](const TextItem& item,
                                std::span<double> row) { count_chrf(item, word_order, row); },
          .score = chrf,
          .of_item = chrf};
}

}  // namespace halftone::eval
