// Did a model see at calibration what it is measured on? Counted in runs of tokens that both texts
// have.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <unordered_set>
#include <vector>

namespace halftone::eval {

// About a dozen words of English. Eight tokens of a tokenizer with few of them are a phrase or two,
// which any two texts share.
inline constexpr int64_t kOverlapTokens = 16;

struct Overlap {
  int64_t shared = 0;  // places of a text where a run begins that the other text has too
  int64_t places = 0;  // runs of kOverlapTokens tokens in it
  double share() const {
    return places > 0 ? static_cast<double>(shared) / static_cast<double>(places) : 0;
  }
  Overlap& operator+=(const Overlap& other) {
    shared += other.shared;
    places += other.places;
    return *this;
  }
};

// The runs of one text, to look for in others. Exact: runs are compared, not their hashes. A phrase
// that both happen to use counts, so two parts of one set share some per mille; a text that was taken
// from the other has nearly 1. About 100 bytes a token.
class TokenRuns {
 public:
  void add(std::span<const int32_t> text);
  // How many runs of `text` stand in what was added.
  Overlap in(std::span<const int32_t> text) const;

 private:
  using Run = std::array<int32_t, kOverlapTokens>;
  struct Hash {
    size_t operator()(const Run& run) const;
  };
  std::unordered_set<Run, Hash> runs_;
};

}  // namespace halftone::eval
