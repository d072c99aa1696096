#include "halftone/runtime/text_tree.h"

#include <algorithm>
#include <numeric>

#include "halftone/base/error.h"

namespace halftone::runtime {

TextTree::TextTree(std::span<const eval::WantedText> texts) : texts_(texts), order_(texts.size()) {
  std::iota(order_.begin(), order_.end(), 0);
  for (const eval::WantedText& text : texts_)
    check(text.first >= 0 && text.first < std::ssize(text.ids), "a text wants a row of its own");
  std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) {
    const auto x = texts_[static_cast<size_t>(a)].ids, y = texts_[static_cast<size_t>(b)].ids;
    return std::lexicographical_compare(x.begin(), x.end(), y.begin(), y.end());
  });
  std::vector<Range> pending;
  if (!texts_.empty()) pending.push_back({0, std::ssize(order_), 0, -1});
  while (!pending.empty()) {
    const Range range = pending.back();
    pending.pop_back();
    split(range, pending);
  }
}

std::span<const int32_t> TextTree::ids(int64_t place) const {
  return texts_[static_cast<size_t>(order_[static_cast<size_t>(place)])].ids;
}

// Of sorted texts, what the first and the last agree on, all agree on.
int64_t TextTree::common(int64_t first, int64_t last) const {
  const auto a = ids(first), b = ids(last - 1);
  return std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin();
}

void TextTree::split(const Range& range, std::vector<Range>& pending) {
  const int64_t shared = common(range.first, range.last);
  const bool one =
      shared == std::ssize(ids(range.last - 1));  // one text, or the same several times
  int64_t begin = range.begin, parent = range.parent;
  if (one || shared - begin >= kWorthSharing) {
    Node node{.begin = begin, .end = shared, .first = range.first, .last = range.last};
    node.wanted = shared;
    for (int64_t i = range.first; i < range.last; ++i)
      node.wanted =
          std::min(node.wanted, texts_[static_cast<size_t>(order_[static_cast<size_t>(i)])].first);
    const int64_t id = std::ssize(nodes_);
    nodes_.push_back(std::move(node));
    (parent < 0 ? roots_ : nodes_[static_cast<size_t>(parent)].children).push_back(id);
    if (one) return;
    parent = id;
    begin = shared;
  }
  // By the next token; texts that end here come first. Those of a node are complete with it.
  int64_t first = range.first;
  while (first < range.last && std::ssize(ids(first)) == shared) ++first;
  std::vector<Range> groups;
  if (first > range.first && begin < shared) groups.push_back({range.first, first, begin, parent});
  while (first < range.last) {
    int64_t last = first + 1;
    const int32_t token = ids(first)[static_cast<size_t>(shared)];
    while (last < range.last && ids(last)[static_cast<size_t>(shared)] == token) ++last;
    groups.push_back({first, last, begin, parent});
    first = last;
  }
  // The stack gives back the last one first.
  pending.insert(pending.end(), groups.rbegin(), groups.rend());
}

std::span<const int32_t> TextTree::tokens(const Node& node) const {
  return ids(node.first)
      .subspan(static_cast<size_t>(node.begin), static_cast<size_t>(node.end - node.begin));
}

int64_t TextTree::tokens_total() const {
  int64_t total = 0;
  for (const Node& node : nodes_) total += node.end - node.begin;
  return total;
}

}  // namespace halftone::runtime
