#include "halftone/eval/text_statistics.h"

#include <cmath>
#include <map>
#include <unordered_map>
#include <vector>

namespace halftone::eval {
namespace {

using Counts = std::map<std::string, int64_t>;  // sorted: sums over it are the same everywhere

Counts content_counts(std::span<const std::string> words, const WordSet& stop_words) {
  Counts out;
  for (const std::string& word : words)
    if (!stop_words.contains(word)) ++out[word];
  return out;
}

struct Grams {
  int64_t all = 0, distinct = 0, repeated = 0;  // repeated: of the distinct ones
};

// Words as numbers, so that an n-gram is a few integers.
Grams grams(std::span<const int64_t> words, size_t n) {
  std::map<std::vector<int64_t>, int64_t> seen;
  Grams out;
  for (size_t i = 0; i + n <= words.size(); ++i) {
    const auto gram = words.subspan(i, n);
    const int64_t count = ++seen[{gram.begin(), gram.end()}];
    ++out.all;
    if (count == 1) ++out.distinct;
    if (count == 2) ++out.repeated;
  }
  return out;
}

std::optional<double> ratio(int64_t a, int64_t b) {
  if (b == 0) return std::nullopt;
  return static_cast<double>(a) / static_cast<double>(b);
}

std::optional<double> cosine(const Counts& a, const Counts& b) {
  int64_t product = 0, aa = 0, bb = 0;
  for (const auto& [word, n] : a) {
    const auto found = b.find(word);
    if (found != b.end()) product += n * found->second;
    aa += n * n;
  }
  for (const auto& [word, n] : b) bb += n * n;
  if (aa == 0 || bb == 0) return std::nullopt;
  return static_cast<double>(product) /
         std::sqrt(static_cast<double>(aa) * static_cast<double>(bb));
}

}  // namespace

TextStatistics text_statistics(std::span<const std::string> prompt,
                               std::span<const std::string> text, const WordSet& stop_words) {
  TextStatistics out;
  out.words = std::ssize(text);
  const Counts content = content_counts(text, stop_words);
  for (const auto& [word, n] : content) out.content_words += n;
  out.duplicates = out.content_words - std::ssize(content);
  out.duplicates_per_content_word = ratio(out.duplicates, out.content_words);
  out.prompt_similarity = cosine(content_counts(prompt, stop_words), content);

  std::unordered_map<std::string, int64_t> numbers;
  std::vector<int64_t> ids;
  for (const std::string& word : text)
    ids.push_back(numbers.emplace(word, numbers.size()).first->second);
  std::optional<double> product = 1;
  std::optional<double>* const distinct[] = {&out.distinct_1, &out.distinct_2, &out.distinct_3};
  for (size_t n = 1; n <= 4; ++n) {
    const Grams g = grams(ids, n);
    if (n <= 3) *distinct[n - 1] = ratio(g.distinct, g.all);
    const auto repeated = ratio(g.repeated, g.distinct);
    product = product && repeated ? std::optional(*product * *repeated) : std::nullopt;
  }
  if (product) out.repetition_rate = std::pow(*product, 0.25);
  return out;
}

}  // namespace halftone::eval
