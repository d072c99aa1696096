// Simulated quantization: codes are dequantized once, then the graph computes as with any other
// weights.
#include <set>

#include "halftone/graph/graph.h"
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
  // A tensor that only quantized linears read is not there densely.
  std::set<std::string> replaced, wanted;
  for (const spec::LinearRef& ref : spec::linears(spec_)) {
    const pack::DecoratedLinear linear = model.linear(*ref.op);
    if (linear.quantized() || !linear.input_scale.empty()) {
      parameters_.decorate(linear);
      replaced.insert(ref.op->name);
    }
  }
  const auto load_segment = [&](const spec::Segment& segment) {
    for (const spec::Op& op : segment.ops) {
      if (replaced.contains(op.name)) continue;
      spec::Segment alone;
      alone.ops = {op};
      for (const spec::TensorRef& ref : tensors_of(alone))
        if (!parameters_.has(ref.name)) parameters_.set(ref, model.tensor(ref));
    }
  };
  for (int64_t i = -1; i <= static_cast<int64_t>(spec_.blocks.size()); ++i)
    load_segment(segment_of(spec_, i));
}

}  // namespace halftone::graph
