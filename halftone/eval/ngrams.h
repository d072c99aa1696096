// Counted n-grams, of words and of characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace halftone::eval {

// Words as numbers, so that n-grams of words and of characters are one thing: views into a sequence
// of 32-bit values.
class Numbers {
 public:
  template <class Pieces>
  std::u32string of(const Pieces& words) {
    std::u32string out;
    for (const auto& word : words)
      out +=
          known_.try_emplace(std::string(word), static_cast<char32_t>(known_.size())).first->second;
    return out;
  }

 private:
  std::unordered_map<std::string, char32_t> known_;
};

struct Gram {
  std::u32string_view units;
  int64_t count = 0;
};
using Grams = std::vector<Gram>;  // distinct, sorted

// The n-grams of one order, views into `sequence`.
Grams grams_of(std::u32string_view sequence, size_t order);
// The larger count of each.
Grams either(const Grams& a, const Grams& b);
// The smaller count of each, summed.
int64_t matches(const Grams& a, const Grams& b);
// Places of n-grams of that order.
double count_of(std::u32string_view sequence, size_t order);

}  // namespace halftone::eval
