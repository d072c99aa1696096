// Computes the rows that texts want, several branches of their tree (text_tree.h) in each step, so
// that the weights are read for as many tokens as a step holds.
//
// Each sequence of the session holds one path of the tree: a node's children are computed behind it
// one after the other, by truncating back to it. A sequence that has nothing left takes the next
// root; when there is none, it becomes a copy of a beginning whose children are not all begun
// (Session::fork). So nothing is computed twice (but what a cache in codes cannot go back to,
// session.h), and who computes what changes no bit.
//
// Memory: as many sequences as the session has, each as long as the longest text.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "halftone/eval/logit_source.h"
#include "halftone/runtime/session.h"
#include "halftone/runtime/text_tree.h"

namespace halftone::runtime {

class TreeWalk {
 public:
  // Starts with empty sequences; leaves something in them.
  TreeWalk(Session& session, std::span<const eval::WantedText> texts);
  // InputError for ids outside the vocabulary or too long a text; E_INTERRUPTED between steps.
  void run(const eval::TakeRows& take);

 private:
  // What a sequence is at: path.back() is under way, those before it are complete.
  struct Branch {
    std::vector<int64_t> path;
    int64_t feeding = 0;  // tokens of the step under way
  };
  bool begin_child(Branch& branch, size_t depth);
  void settle(int64_t sequence);
  void take_over(int64_t sequence);
  void plan();
  void give(const eval::TakeRows& take);

  Session& session_;
  std::span<const eval::WantedText> texts_;
  TextTree tree_;
  std::vector<size_t> children_begun_;  // by node
  size_t roots_begun_ = 0;
  std::vector<Branch> branches_;
  std::vector<Append> parts_;
  std::vector<float> logits_;
};

}  // namespace halftone::runtime
