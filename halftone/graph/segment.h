// Interprets the ops of one segment. Every op of the closed set has its one implementation here
// (attention in attention.h).
//
//   Capture capture{.wanted = {{CaptureKind::linear_input, "model.layers.0.mlp.down_proj"}},
//                   .sink = keep};
//   at::Tensor y = run_segment(spec.blocks[0], parameters, x, sequence, &capture);
#pragma once

#include <ATen/core/Tensor.h>

#include <compare>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "halftone/base/threads.h"
#include "halftone/graph/parameters.h"
#include "halftone/graph/sequence.h"
#include "halftone/spec/model_spec.h"

namespace halftone::graph {

// What can be watched. Tensors given to the sink are part of the autograd graph when one is built:
// distillation uses them as they are.
enum class CaptureKind : uint8_t {
  linear_input,  // name: op. [B, T, in], before a decorated linear's input scale
  op_output,     // name: op
  hidden,        // name: segment, "" for the embeddings; [B, T, width]. Whole-model forward only
};
struct CaptureKey {
  CaptureKind kind = CaptureKind::linear_input;
  std::string name;
  auto operator<=>(const CaptureKey&) const = default;
};
struct Capture {
  std::set<CaptureKey> wanted;
  std::function<void(const CaptureKey&, const at::Tensor&)> sink;
};

// input: what value 0 is, [B, T, width] or, for a prologue, ids i64 [B, T]. Returns the output of
// the last op (the input when there is none). Values are dropped after their last use. Not
// translated: callers wrap it in guarded(). With a pool (CPU, gradient off, TorchThreads{1} in
// force) each op is split over its workers in parts that depend on shapes only, so that the bytes
// do not depend on the threads.
at::Tensor run_segment(const spec::Segment& segment, const Parameters& parameters,
                       const at::Tensor& input, const Sequence& sequence,
                       const Capture* capture = nullptr, ThreadPool* pool = nullptr);
// A segment that stopped on its way: which ops are done, and of their outputs those that an op not
// yet done reads. The input itself is not among them, it is given again. True for as long as no
// weight of an op that is done changes.
struct Suspended {
  std::vector<bool> done;          // by op
  std::vector<at::Tensor> values;  // by value
  bool has_done(const spec::Segment& segment, const std::string& op) const;
  int64_t bytes() const;
};
// Only the ops that the captured values need. Returns where it stopped.
Suspended run_for_capture(const spec::Segment& segment, const Parameters& parameters,
                          const at::Tensor& input, const Sequence& sequence,
                          const Capture& capture);
// The ops that are not done, with the bytes that run_segment gives.
at::Tensor resume_segment(const spec::Segment& segment, const Parameters& parameters,
                          const at::Tensor& input, const Sequence& sequence, Suspended suspended);

}  // namespace halftone::graph
