// A whole model on libtorch: interprets a ModelSpec with autograd. Calibration, training and
// simulated quantization stand on it.
//
//   Graph graph(checkpoint.spec, {.device = "cpu", .dtype = DType::f32});
//   graph.load(*checkpoint.tensors);
//   graph.parameters().set_requires_grad(true);
//   auto out = graph.forward({.ids = ids});   // out.logits [B, T, V]
//   loss_of(out.logits).backward();           // graph.parameters().at("model.norm.weight").grad()
//
// Errors of torch come out as ours. Forward is const: several threads may run it at once when no
// gradient is wanted.
#pragma once

#include <ATen/core/Tensor.h>

#include "halftone/files/tensor_source.h"
#include "halftone/graph/parameters.h"
#include "halftone/graph/segment.h"
#include "halftone/graph/sequence.h"
#include "halftone/pack/packed_model.h"
#include "halftone/spec/model_spec.h"

namespace halftone::graph {

struct Output {
  at::Tensor logits;  // language model: [B, T, V]
  at::Tensor hidden;  // hidden_and_pooled: [B, T, width] after the last block
  at::Tensor pooled;  // hidden_and_pooled with a pooler: [B, width of the pooler]
};

class Graph {
 public:
  explicit Graph(spec::ModelSpec spec, const TensorOptions& options = {});

  // Every tensor of the spec, dense. One at a time, so the peak is the model plus its largest
  // tensor.
  void load(const files::TensorSource& source);
  // Quantized linears become simulated ones (dequantized codes); all other tensors are dense.
  void load(const pack::PackedModel& model);

  const spec::ModelSpec& spec() const { return spec_; }
  Parameters& parameters() { return parameters_; }
  const Parameters& parameters() const { return parameters_; }

  // InputError: ids outside the vocabulary, more tokens than a position table has rows. ShapeError:
  // ids not [B, T].
  Output forward(const Batch& batch, const Capture* capture = nullptr) const;
  // One segment: -1 prologue (input = ids), 0 .. blocks-1, blocks epilogue. Hidden states [B, T,
  // width].
  at::Tensor forward_segment(int64_t index, const at::Tensor& input, const Sequence& sequence,
                             const Capture* capture = nullptr, ThreadPool* pool = nullptr) const;

 private:
  spec::ModelSpec spec_;
  Parameters parameters_;
};

// -1 prologue, 0 .. blocks-1, blocks epilogue, as in spec::LinearRef.
const spec::Segment& segment_of(const spec::ModelSpec& spec, int64_t index);
// Tensors that a segment reads, each once.
std::vector<spec::TensorRef> tensors_of(const spec::Segment& segment);
// i64 [1, T] on the CPU.
at::Tensor ids_tensor(std::span<const int32_t> ids);

}  // namespace halftone::graph
