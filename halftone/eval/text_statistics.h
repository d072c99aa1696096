// How much a generated text repeats itself. Everything is counted in words (text/words.h cuts
// them); nothing looks at tokens, so that models with other tokenizers compare.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_set>

namespace halftone::eval {

// A ratio is empty where its denominator is 0: a text without content words has no duplicates per
// content word.
struct TextStatistics {
  int64_t words = 0;
  int64_t content_words = 0;  // words that are no stop words
  // Content words that stood in the text before: content_words - distinct content words.
  int64_t duplicates = 0;
  std::optional<double> duplicates_per_content_word;
  // Distinct n-grams / n-grams, of all words (Li et al. 2016, arXiv:1510.03055).
  std::optional<double> distinct_1, distinct_2, distinct_3;
  // Geometric mean over n = 1..4 of the share of distinct n-grams that occur more than once
  // (Cettolo, Bertoldi, Federico 2014, AMTA: the repetition rate), the text as one window.
  std::optional<double> repetition_rate;
  // Cosine between the counts of content words of prompt and text.
  std::optional<double> prompt_similarity;
  bool operator==(const TextStatistics&) const = default;
};

using WordSet = std::unordered_set<std::string>;

// `text`: the words of what the model wrote, without those of `prompt`.
TextStatistics text_statistics(std::span<const std::string> prompt,
                               std::span<const std::string> text, const WordSet& stop_words);

}  // namespace halftone::eval
