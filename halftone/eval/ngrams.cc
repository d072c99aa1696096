#include "halftone/eval/ngrams.h"

#include <algorithm>
#include <iterator>

namespace halftone::eval {

Grams grams_of(std::u32string_view sequence, size_t order) {
  std::vector<std::u32string_view> all;
  for (size_t i = 0; i + order <= sequence.size(); ++i) all.push_back(sequence.substr(i, order));
  std::sort(all.begin(), all.end());
  Grams out;
  for (const auto& units : all) {
    if (out.empty() || out.back().units != units) out.push_back({units});
    ++out.back().count;
  }
  return out;
}

Grams either(const Grams& a, const Grams& b) {
  Grams out;
  std::merge(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(out),
             [](const Gram& x, const Gram& y) { return x.units < y.units; });
  size_t kept = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    if (kept > 0 && out[kept - 1].units == out[i].units)
      out[kept - 1].count = std::max(out[kept - 1].count, out[i].count);
    else
      out[kept++] = out[i];
  }
  out.resize(kept);
  return out;
}

int64_t matches(const Grams& a, const Grams& b) {
  int64_t sum = 0;
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    const int order = x->units.compare(y->units);
    if (order == 0) sum += std::min(x->count, y->count);
    if (order <= 0) ++x;
    if (order >= 0) ++y;
  }
  return sum;
}

double count_of(std::u32string_view sequence, size_t order) {
  return sequence.size() < order ? 0 : static_cast<double>(sequence.size() - order + 1);
}

}  // namespace halftone::eval
