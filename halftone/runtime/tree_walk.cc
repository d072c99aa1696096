#include "halftone/runtime/tree_walk.h"

#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/eval/rows.h"

namespace halftone::runtime {

TreeWalk::TreeWalk(Session& session, std::span<const eval::WantedText> texts)
    : session_(session),
      texts_(texts),
      tree_(texts),
      children_begun_(tree_.nodes().size(), 0),
      branches_(static_cast<size_t>(session.sequences())) {
  for (const eval::WantedText& text : texts_) session_.check_prompt(text.ids);
  session_.reset();
}

bool TreeWalk::begin_child(Branch& branch, size_t depth) {
  const int64_t parent = branch.path[depth];
  const auto& children = tree_.nodes()[static_cast<size_t>(parent)].children;
  size_t& begun = children_begun_[static_cast<size_t>(parent)];
  if (begun == children.size()) return false;
  branch.path.resize(depth + 1);
  branch.path.push_back(children[begun++]);
  return true;
}

// Leaves the sequence with a node to feed, or with an empty path.
void TreeWalk::settle(int64_t sequence) {
  Branch& branch = branches_[static_cast<size_t>(sequence)];
  while (!branch.path.empty()) {
    const TextTree::Node& top = tree_.nodes()[static_cast<size_t>(branch.path.back())];
    if (session_.position(sequence) < top.end) return;
    if (begin_child(branch, branch.path.size() - 1)) return;
    branch.path.pop_back();
    const int64_t end =
        branch.path.empty() ? 0 : tree_.nodes()[static_cast<size_t>(branch.path.back())].end;
    session_.truncate(end, sequence);
  }
  if (roots_begun_ < tree_.roots().size())
    branch.path.push_back(tree_.roots()[roots_begun_++]);
  else
    take_over(sequence);
}

// The children of a node that another sequence holds and has not begun all of; the nearest to a
// root, because most is left to do there.
void TreeWalk::take_over(int64_t sequence) {
  Branch& branch = branches_[static_cast<size_t>(sequence)];
  int64_t from = -1;
  size_t best = 0;
  for (int64_t s = 0; s < session_.sequences(); ++s) {
    const Branch& other = branches_[static_cast<size_t>(s)];
    for (size_t depth = 0; depth < other.path.size(); ++depth) {
      const auto id = static_cast<size_t>(other.path[depth]);
      const TextTree::Node& node = tree_.nodes()[id];
      if (session_.position(s) < node.end) break;
      if (children_begun_[id] == node.children.size()) continue;
      if (from < 0 || depth < best) {
        from = s;
        best = depth;
      }
      break;
    }
  }
  if (from < 0) return;
  const Branch& other = branches_[static_cast<size_t>(from)];
  branch.path.assign(other.path.begin(),
                     other.path.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  session_.fork(from, tree_.nodes()[static_cast<size_t>(branch.path.back())].end, sequence);
  check(begin_child(branch, best), "a beginning that is taken over has a child to begin");
}

void TreeWalk::plan() {
  parts_.clear();
  int64_t room = std::max(session_.chunk(), session_.sequences());
  for (int64_t s = 0; s < session_.sequences(); ++s) {
    Branch& branch = branches_[static_cast<size_t>(s)];
    branch.feeding = 0;
    if (branch.path.empty() || room == 0) continue;
    const TextTree::Node& top = tree_.nodes()[static_cast<size_t>(branch.path.back())];
    // Behind `top.begin` where the cache could not go back to the end of its parent.
    const int64_t position = session_.position(s);
    branch.feeding = std::min(top.end - position, room);
    room -= branch.feeding;
    parts_.push_back({.sequence = s,
                      .ids = tree_.text(top).subspan(static_cast<size_t>(position),
                                                     static_cast<size_t>(branch.feeding))});
  }
}

// Logits of the step's rows that a text wants, a block at a time: the head reads its weights for
// many rows.
void TreeWalk::give(const eval::TakeRows& take) {
  struct Row {
    int64_t row, position;
    size_t begin, end;  // of `texts`
  };
  std::vector<Row> rows;
  std::vector<int64_t> texts;
  int64_t row = 0;
  for (const Append& part : parts_) {
    const Branch& branch = branches_[static_cast<size_t>(part.sequence)];
    const TextTree::Node& node = tree_.nodes()[static_cast<size_t>(branch.path.back())];
    int64_t position = session_.position(part.sequence) - branch.feeding;
    for (int64_t i = 0; i < branch.feeding; ++i, ++row, ++position) {
      if (position < std::max(node.begin, node.wanted)) continue;
      const size_t begin = texts.size();
      for (int64_t place = node.first; place < node.last; ++place) {
        const int64_t text = tree_.order()[static_cast<size_t>(place)];
        if (texts_[static_cast<size_t>(text)].first <= position) texts.push_back(text);
      }
      rows.push_back({row, position, begin, texts.size()});
    }
  }
  const auto width = static_cast<size_t>(session_.model().vocabulary());
  std::vector<int64_t> wanted;
  std::vector<eval::TextRow> given;
  const auto chunk = static_cast<size_t>(eval::rows_per_chunk(session_.model().vocabulary()));
  for (size_t first = 0; first < rows.size(); first += chunk) {
    const size_t count = std::min(chunk, rows.size() - first);
    wanted.clear();
    given.clear();
    logits_.resize(std::max(logits_.size(), count * width));
    for (size_t i = 0; i < count; ++i) {
      const Row& r = rows[first + i];
      wanted.push_back(r.row);
      given.push_back({.position = r.position,
                       .logits = std::span<const float>(logits_).subspan(i * width, width),
                       .texts = std::span<const int64_t>(texts).subspan(r.begin, r.end - r.begin)});
    }
    session_.logits(wanted, logits_);
    take(given);
  }
}

void TreeWalk::run(const eval::TakeRows& take) {
  for (;;) {
    for (int64_t s = 0; s < session_.sequences(); ++s) settle(s);
    plan();
    if (parts_.empty()) return;
    session_.advance(parts_);
    give(take);
  }
}

}  // namespace halftone::runtime
