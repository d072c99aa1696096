#include "halftone/pack/dense_copy.h"

#include <algorithm>
#include <map>
#include <utility>

namespace halftone::pack {
namespace {

// Engines take the weights of a linear whose tensor they find from the file. These are made.
constexpr const char* kMade = "made:";

class DenseCopy final : public PackedModel {
 public:
  DenseCopy(std::shared_ptr<const PackedModel> model, DType dtype, ChangeWeights change)
      : model_(std::move(model)),
        dtype_(dtype),
        change_(std::move(change)),
        checkpoint_(model_->checkpoint()) {
    spec::ModelSpec& spec = checkpoint_.spec;
    int64_t made = 0;
    for (const auto& original : spec::linears(model_->checkpoint().spec))
      originals_.emplace(original.op->name, original.op);
    for (spec::Segment* segment : spec::segments(spec))
      for (spec::Op& op : segment->ops)
        if (auto* linear = std::get_if<spec::Linear>(&op.params)) {
          linear->weight.name = kMade + linear->weight.name;
          made += linear->in * linear->out;
        }
    spec.tied_head = false;
    checkpoint_.gguf = nullptr;
    checkpoint_.quantized = false;
    weight_bytes_ = static_cast<uint64_t>(made * dtype_bytes(dtype_));
    for (const spec::TensorRef& ref : spec::tensors(spec))
      if (const auto* info = checkpoint_.tensors->find(ref.name))
        weight_bytes_ += info->stored_bytes;
  }

  const spec::Checkpoint& checkpoint() const override { return checkpoint_; }
  const format::Plan& plan() const override { return plan_; }
  DecoratedLinear linear(const spec::Op& op) const override {
    const DecoratedLinear from = model_->linear(*originals_.at(op.name));
    Matrix<float> w = effective_weight(from);
    if (change_)
      if (const auto steps = model_->steps(*originals_.at(op.name))) change_(op.name, *steps, w);
    HostTensor values(DType::f32, {w.rows, w.cols});
    std::copy(w.data.begin(), w.data.end(), values.as<float>().begin());
    return {.name = from.name,
            .out = from.out,
            .in = from.in,
            .input_scale = {},
            .weight = dtype_ == DType::f32 ? std::move(values) : from_f32(values, dtype_),
            .bias = from.bias};
  }
  HostTensor tensor(const spec::TensorRef& ref) const override { return model_->tensor(ref); }
  uint64_t weight_bytes() const override { return weight_bytes_; }
  double bits_per_weight() const override {
    return static_cast<double>(weight_bytes_) * 8 /
           static_cast<double>(spec::parameter_count(checkpoint_.spec));
  }

 private:
  std::shared_ptr<const PackedModel> model_;
  DType dtype_;
  ChangeWeights change_;
  spec::Checkpoint checkpoint_;
  std::map<std::string, const spec::Op*> originals_;
  format::Plan plan_;
  uint64_t weight_bytes_ = 0;
};

}  // namespace

std::shared_ptr<const PackedModel> dense_copy(std::shared_ptr<const PackedModel> model, DType dtype,
                                              ChangeWeights change) {
  return std::make_shared<DenseCopy>(std::move(model), dtype, std::move(change));
}

}  // namespace halftone::pack
