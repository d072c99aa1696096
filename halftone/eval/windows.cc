#include "halftone/eval/windows.h"

#include <algorithm>

#include "halftone/base/error.h"

namespace halftone::eval {

Protocol gptq_windows(int64_t tokens, int64_t length, int64_t limit) {
  check(length >= 2, "a window needs two tokens");
  const int64_t whole = tokens / length, count = limit > 0 ? std::min(whole, limit) : whole;
  Protocol protocol{.name = "gptq-" + std::to_string(length),
                    .windows = {},
                    .dropped = count == whole ? tokens - whole * length : 0};
  for (int64_t i = 0; i < count; ++i)
    protocol.windows.push_back({i * length, (i + 1) * length, i * length + 1, 1.0});
  return protocol;
}

void check_stride(int64_t stride, int64_t window) {
  if (stride > window)
    throw InputError("stride",
                     std::to_string(stride) + " is more than the window of " +
                         std::to_string(window) + " tokens, so text would be left out",
                     "512 is usual, the window the most");
}

Protocol strided_windows(int64_t tokens, int64_t length, int64_t stride, int64_t limit) {
  check(length >= 2 && stride >= 2, "a window that scores one new token has no weight");
  check_stride(stride, length);
  Protocol protocol{"strided-" + std::to_string(length) + "-" + std::to_string(stride), {}};
  int64_t scored_to = 0;
  for (int64_t begin = 0; begin < tokens; begin += stride) {
    const int64_t end = std::min(begin + length, tokens);
    const int64_t first = std::max(scored_to, begin + 1);
    const int64_t kept =
        end - scored_to;  // labels the guide keeps, the first window's first one included
    if (first < end) protocol.windows.push_back({begin, end, first, static_cast<double>(kept - 1)});
    scored_to = end;
    if (end == tokens || (limit > 0 && static_cast<int64_t>(protocol.windows.size()) == limit))
      break;
  }
  // A single new token has weight zero there; keep it out of the average as the guide does.
  protocol.dropped = static_cast<int64_t>(
      std::erase_if(protocol.windows, [](const Window& w) { return w.weight <= 0; }));
  return protocol;
}

std::vector<std::vector<int32_t>> texts_of(const Protocol& protocol, std::span<const int32_t> ids) {
  std::vector<std::vector<int32_t>> out;
  for (const Window& w : protocol.windows) {
    const auto text =
        ids.subspan(static_cast<size_t>(w.begin), static_cast<size_t>(w.end - w.begin));
    out.emplace_back(text.begin(), text.end());
  }
  return out;
}

}  // namespace halftone::eval
