// The fold graph: which producers can hand a per-channel scale to which linears. Derived from the
// ops, never listed by hand.
//
// A fold (D diagonal) keeps the function: producer's output channel j times d_j, each consumer's
// input column j divided by d_j. Through attention, value channels reach attention_out's columns:
// query heads of one kv head share a factor. Through multiply(activation(gate), up) only `up`
// carries the scale.
#pragma once

#include <string>
#include <vector>

#include "halftone/spec/model_spec.h"

namespace halftone::spec {

struct Fold {
  int64_t segment = 0;   // index into blocks
  std::string producer;  // op name of a norm or a linear
  bool producer_is_norm = false;
  int64_t channels = 0;  // free factors d
  struct Consumer {
    std::string linear;            // op name
    std::vector<int64_t> channel;  // [in]: which factor scales input column k
  };
  std::vector<Consumer> consumers;
  std::vector<int64_t> producer_row;  // [channels] -> row of the producer's output (linear: row of
                                      // W and bias; norm: index into weight)
};

// Only folds that leave the function unchanged: every use of the producer's output is a consumer of
// the fold.
std::vector<Fold> fold_graph(const ModelSpec& spec);

}  // namespace halftone::spec
