#include "halftone/eval/logit_source.h"

#include <algorithm>
#include <numeric>

#include "halftone/base/error.h"
#include "halftone/eval/rows.h"

namespace halftone::eval {

void LogitSource::each_text(std::span<const WantedText> texts, const TakeRows& take) {
  // Side by side what begins alike: `begin` may know how to go on from there.
  std::vector<int64_t> order(texts.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    const auto x = texts[static_cast<size_t>(a)].ids, y = texts[static_cast<size_t>(b)].ids;
    return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end());
  });
  const auto width = static_cast<size_t>(vocabulary());
  std::vector<float> rows(static_cast<size_t>(rows_per_chunk(vocabulary())) * width);
  std::vector<TextRow> given;
  for (const int64_t& text : order) {
    const WantedText& wanted = texts[static_cast<size_t>(text)];
    check(wanted.first >= 0 && wanted.first < std::ssize(wanted.ids),
          "a text wants a row of its own");
    begin(wanted.ids, wanted.first);
    int64_t position = wanted.first;
    for (int64_t n = next(rows); n > 0; n = next(rows)) {
      given.clear();
      for (int64_t i = 0; i < n; ++i)
        given.push_back(
            {.position = position++,
             .logits = std::span<const float>(rows).subspan(static_cast<size_t>(i) * width, width),
             .texts = {&text, 1}});
      take(given);
    }
  }
}

void LogitSource::each_row(
    std::span<const int32_t> ids, int64_t first,
    const std::function<void(int64_t position, std::span<const float> row)>& row) {
  const auto width = static_cast<size_t>(vocabulary());
  std::vector<float> rows(static_cast<size_t>(rows_per_chunk(vocabulary())) * width);
  begin(ids, first);
  for (int64_t position = first, n = next(rows); n > 0; n = next(rows))
    for (int64_t i = 0; i < n; ++i)
      row(position++, std::span<const float>(rows).subspan(static_cast<size_t>(i) * width, width));
}

}  // namespace halftone::eval
