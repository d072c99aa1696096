#include "halftone/graph/graph.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "halftone/graph/torch.h"

namespace halftone::graph {

Graph::Graph(spec::ModelSpec spec, const TensorOptions& options)
    : spec_(std::move(spec)), parameters_(options) {}

void Graph::load(const files::TensorSource& source) {
  for (const spec::TensorRef& ref : spec::tensors(spec_)) parameters_.load(source, ref);
}

Output Graph::forward(const Batch& batch, const Capture* capture) const {
  return guarded("forward", [&] {
    if (batch.ids.dim() != 2)
      throw ShapeError("ids", "are " + to_string(shape_of(batch.ids)) + ", not [B, T]");
    if (batch.ids.numel() == 0) throw InputError("ids", "there is no token to run");
    const Sequence sequence(batch);
    const auto give_hidden = [&](const std::string& name, const at::Tensor& x) {
      const CaptureKey key{CaptureKind::hidden, name};
      if (capture != nullptr && capture->wanted.contains(key)) capture->sink(key, x);
    };
    at::Tensor x = forward_segment(-1, batch.ids, sequence, capture);
    give_hidden("", x);
    for (size_t i = 0; i < spec_.blocks.size(); ++i) {
      x = forward_segment(static_cast<int64_t>(i), x, sequence, capture);
      give_hidden(spec_.blocks[i].name, x);
    }
    const at::Tensor y =
        forward_segment(static_cast<int64_t>(spec_.blocks.size()), x, sequence, capture);
    Output output;
    if (spec_.output == spec::ModelSpec::Output::language_model) {
      output.logits = y;
    } else {
      output.hidden = x;
      if (!spec_.epilogue.ops.empty()) output.pooled = y.squeeze(1);
    }
    return output;
  });
}

at::Tensor Graph::forward_segment(int64_t index, const at::Tensor& input, const Sequence& sequence,
                                  const Capture* capture, ThreadPool* pool) const {
  return guarded(index < 0 ? "embeddings" : segment_of(spec_, index).name, [&] {
    return run_segment(segment_of(spec_, index), parameters_, input, sequence, capture, pool);
  });
}

const spec::Segment& segment_of(const spec::ModelSpec& spec, int64_t index) {
  const auto blocks = static_cast<int64_t>(spec.blocks.size());
  check(index >= -1 && index <= blocks, "segment index out of range");
  if (index < 0) return spec.prologue;
  return index < blocks ? spec.blocks[static_cast<size_t>(index)] : spec.epilogue;
}

std::vector<spec::TensorRef> tensors_of(const spec::Segment& segment) {
  spec::ModelSpec alone;
  alone.prologue = segment;
  return spec::tensors(alone);
}

at::Tensor ids_tensor(std::span<const int32_t> ids) {
  at::Tensor tensor = at::empty({1, static_cast<int64_t>(ids.size())}, c10::kLong);
  std::copy(ids.begin(), ids.end(), tensor.data_ptr<int64_t>());
  return tensor;
}

}  // namespace halftone::graph
