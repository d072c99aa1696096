// Simulated quantization: codes are dequantized once, then the graph computes as with any other
// weights.
#include <set>

#include "halftone/graph/graph.h"
#include "halftone/graph/logit_source.h"
#include "halftone/graph/torch.h"

namespace halftone::graph {
namespace {

at::Tensor vector_tensor(const std::vector<float>& values, const at::TensorOptions& options) {
  if (values.empty()) return {};
  Matrix<float> row(1, static_cast<int64_t>(values.size()));
  row.data = values;
  return to_torch(std::move(row)).view({-1}).to(options);
}

}  // namespace

void Parameters::decorate(const pack::DecoratedLinear& linear) {
  guarded(linear.name, [&] {
    Matrix<float> w;
    if (linear.quantized()) {
      w = linear.codes().dequantize();
    } else {
      const HostTensor plain = to_f32(linear.dense());
      w = Matrix<float>(linear.out, linear.in);
      const auto values = plain.as<float>();
      check(values.size() == w.data.size(), "a dense decorated linear is [out, in]");
      w.data.assign(values.begin(), values.end());
    }
    if (w.rows != linear.out || w.cols != linear.in)
      throw ShapeError(linear.name, "codes are " + to_string(Shape{w.rows, w.cols}) +
                                        ", the linear is " +
                                        to_string(Shape{linear.out, linear.in}));
    linears_[linear.name] = {to_torch(std::move(w)).to(options_),
                             vector_tensor(linear.input_scale, options_),
                             vector_tensor(linear.bias, options_)};
  });
}

void Graph::load(const pack::PackedModel& model) {
  std::set<std::string> replaced;  // what only a quantized linear reads is not stored densely
  for (const spec::LinearRef& ref : spec::linears(spec_)) {
    if (model.plan().find(ref.op->name, format::Port::weight) == nullptr) continue;
    parameters_.decorate(model.linear(*ref.op));
    replaced.insert(ref.op->name);
  }
  for (int64_t i = -1; i <= static_cast<int64_t>(spec_.blocks.size()); ++i) {
    spec::Segment dense = segment_of(spec_, i);
    std::erase_if(dense.ops, [&](const spec::Op& op) { return replaced.contains(op.name); });
    for (const spec::TensorRef& tensor : tensors_of(dense))
      if (!parameters_.has(tensor.name)) parameters_.set(tensor, model.tensor(tensor));
  }
}

std::unique_ptr<eval::LogitSource> graph_logits(const pack::PackedModel& model,
                                                const Context& context,
                                                const TensorOptions& options) {
  auto graph = std::make_shared<Graph>(model.checkpoint().spec, options);
  graph->load(model);
  return graph_logits(model.checkpoint().name, std::move(graph), context);
}

}  // namespace halftone::graph
