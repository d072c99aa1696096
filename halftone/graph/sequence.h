// What ops need to know about a batch besides its values: which tokens are padding, where each
// token stands, and the rotation tables that follow from it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <mutex>
#include <utility>
#include <vector>

#include "halftone/spec/model_spec.h"

namespace halftone::graph {

// One padded batch. Only `ids` is needed; undefined tensors mean the default.
struct Batch {
  at::Tensor ids;             // i64 [B, T]
  at::Tensor attention_mask;  // [B, T], 0 where padded (default: none is)
  at::Tensor token_types;     // i64 [B, T] (default: 0)
  at::Tensor positions;       // i64 [B, T] (default: 0 .. T-1)
};

// Const members are safe from many threads, so samples of one length may share one.
class Sequence {
 public:
  Sequence(int64_t batch, int64_t tokens);  // nothing padded, positions from 0
  explicit Sequence(const Batch& batch);

  int64_t batch() const { return batch_; }
  int64_t tokens() const { return tokens_; }
  const at::Tensor& positions() const { return positions_; }      // i64 [B or 1, T], CPU
  const at::Tensor& token_types() const { return token_types_; }  // i64 [B or 1, T], CPU
  // Bool [B, T], CPU, true where a real token stands; undefined when nothing is padded.
  const at::Tensor& present() const { return present_; }

  // cos and sin [B or 1, T, 1, dims / 2] of position * inverse_frequency, times magnitude: computed
  // in f64, then rounded to `like`'s dtype and moved to its device. Kept, because every block asks
  // for the same ones.
  std::pair<at::Tensor, at::Tensor> rotation(const spec::Rope& rope, const at::Tensor& like) const;

 private:
  struct Rotation {
    spec::Rope rope;
    at::Tensor cos, sin;
  };
  int64_t batch_ = 0, tokens_ = 0;
  at::Tensor positions_, token_types_, present_;
  mutable std::mutex mutex_;
  mutable std::vector<Rotation> rotations_;
};

}  // namespace halftone::graph
