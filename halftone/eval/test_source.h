// A source of logits for tests: no model, and every row known.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "halftone/base/rng.h"
#include "halftone/eval/logit_source.h"

namespace halftone::eval::testing_eval {

// Logits of position t are a seeded function of (ids[t], t); `noise` shifts them.
class ToySource : public LogitSource {
 public:
  ToySource(int64_t vocabulary, double noise, int64_t chunk)
      : vocabulary_(vocabulary), noise_(noise), chunk_(chunk) {}
  std::string label() const override { return "toy"; }
  int64_t vocabulary() const override { return vocabulary_; }
  int64_t context() const override { return 64; }
  void begin(std::span<const int32_t> ids, int64_t first) override {
    ids_.assign(ids.begin(), ids.end());
    position_ = first;
  }
  int64_t next(std::span<float> rows) override {
    const int64_t room = std::min(chunk_, static_cast<int64_t>(rows.size()) / vocabulary_);
    int64_t n = 0;
    for (; n < room && position_ < static_cast<int64_t>(ids_.size()); ++n, ++position_) {
      const CounterRng rng(7, static_cast<uint32_t>(ids_[static_cast<size_t>(position_)]));
      const CounterRng other(8, static_cast<uint32_t>(position_));
      for (int64_t v = 0; v < vocabulary_; ++v)
        rows[static_cast<size_t>(n * vocabulary_ + v)] =
            static_cast<float>(2 * rng.normal(static_cast<uint64_t>(v)) +
                               noise_ * other.normal(static_cast<uint64_t>(v)));
    }
    return n;
  }

 private:
  int64_t vocabulary_;
  double noise_;
  int64_t chunk_;
  std::vector<int32_t> ids_;
  int64_t position_ = 0;
};

}  // namespace halftone::eval::testing_eval
