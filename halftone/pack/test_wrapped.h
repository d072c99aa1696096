// A model seen through another: what tests change is overridden, the rest is the model's own.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <variant>

#include "halftone/pack/packed_model.h"

namespace halftone::pack::testing {

class Wrapped : public PackedModel {
 public:
  explicit Wrapped(std::shared_ptr<const PackedModel> model) : model_(std::move(model)) {}
  const spec::Checkpoint& checkpoint() const override { return model_->checkpoint(); }
  const format::Plan& plan() const override { return model_->plan(); }
  DecoratedLinear linear(const spec::Op& op) const override { return model_->linear(op); }
  HostTensor tensor(const spec::TensorRef& ref) const override { return model_->tensor(ref); }
  uint64_t weight_bytes() const override { return model_->weight_bytes(); }
  double bits_per_weight() const override { return model_->bits_per_weight(); }

 private:
  std::shared_ptr<const PackedModel> model_;
};

// Its linears in floats, as `edit` leaves them.
class Edited final : public Wrapped {
 public:
  using Edit = std::function<void(spec::Role role, Matrix<float>& w)>;
  Edited(std::shared_ptr<const PackedModel> model, Edit edit)
      : Wrapped(std::move(model)), edit_(std::move(edit)) {}
  DecoratedLinear linear(const spec::Op& op) const override {
    DecoratedLinear out = Wrapped::linear(op);
    Matrix<float> w = effective_weight(out);
    edit_(std::get<spec::Linear>(op.params).role, w);
    HostTensor t(DType::f32, {w.rows, w.cols});
    std::copy(w.data.begin(), w.data.end(), t.as<float>().begin());
    out.weight = std::move(t);
    return out;
  }

 private:
  Edit edit_;
};

}  // namespace halftone::pack::testing
