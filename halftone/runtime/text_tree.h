// Texts as a tree of what they have in common, so that each common beginning is computed once: the
// question before its answers, the examples before the questions.
//
//   TextTree tree(texts);
//   tree.nodes()[i]   // tokens [begin, end) of any of its texts, after those of its parent
//
// A beginning shorter than kWorthSharing beyond the one before it is not shared: it costs less to
// compute it again than to keep a sequence for it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "halftone/eval/logit_source.h"

namespace halftone::runtime {

class TextTree {
 public:
  static constexpr int64_t kWorthSharing = 8;  // tokens

  struct Node {
    int64_t begin = 0, end = 0;     // tokens of its texts
    int64_t first = 0, last = 0;    // its texts: order()[first, last)
    int64_t wanted = 0;             // no text of it wants a row before this position
    std::vector<int64_t> children;  // nodes
  };

  // `texts` must outlive the tree. Each has a token.
  explicit TextTree(std::span<const eval::WantedText> texts);

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<int64_t>& roots() const { return roots_; }
  std::span<const int64_t> order() const { return order_; }
  std::span<const int32_t> tokens(const Node& node) const;  // of the node, without its parent's
  std::span<const int32_t> text(const Node& node) const { return ids(node.first); }  // of its texts
  int64_t tokens_total() const;  // of all nodes: what has to be computed

 private:
  int64_t common(int64_t first, int64_t last) const;
  // Nodes below `parent` (-1: roots) for order_[first, last), which agree on `shared` tokens, of
  // which the first `begin` are those of the parent.
  struct Range {
    int64_t first, last, begin, parent;
  };
  void split(const Range& range, std::vector<Range>& pending);
  std::span<const int32_t> ids(int64_t place) const;

  std::span<const eval::WantedText> texts_;
  std::vector<int64_t> order_, roots_;
  std::vector<Node> nodes_;
};

}  // namespace halftone::runtime
