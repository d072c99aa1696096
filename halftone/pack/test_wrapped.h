// A model seen through another: what tests change is overridden, the rest is the model's own.
#pragma once

#include <memory>
#include <utility>

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

}  // namespace halftone::pack::testing
