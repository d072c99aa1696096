// Quantized models without files: a dense one, rounded to nearest as it is read. For tests and for
// timing.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>

#include "halftone/format/format.h"
#include "halftone/pack/test_wrapped.h"

namespace halftone::runtime::testing {

// A dense model whose linears are quantized when asked for, or dequantized again: simulated
// quantization.
class Quantized final : public pack::testing::Wrapped {
 public:
  using Change = std::function<void(pack::DecoratedLinear&)>;
  Quantized(std::shared_ptr<const pack::PackedModel> dense, const format::Format& format,
            bool simulated, Change change = {})
      : Wrapped(std::move(dense)),
        format_(format),
        simulated_(simulated),
        change_(std::move(change)) {
    for (const auto& ref : spec::linears(checkpoint().spec))
      if (ref.linear().role != spec::Role::head)
        plan_.ports[{ref.op->name, format::Port::weight}] = format;
  }
  const format::Plan& plan() const override { return plan_; }
  pack::DecoratedLinear linear(const spec::Op& op) const override {
    pack::DecoratedLinear out = Wrapped::linear(op);
    if (plan_.find(op.name, format::Port::weight) == nullptr) return out;
    out.weight = format::quantize_nearest(pack::effective_weight(out), format_);
    if (change_) change_(out);
    if (!simulated_) return out;
    const Matrix<float> w = pack::effective_weight(out);
    HostTensor t(DType::f32, {w.rows, w.cols});
    std::copy(w.data.begin(), w.data.end(), t.as<float>().begin());
    out.weight = std::move(t);
    out.input_scale.clear();
    return out;
  }

 private:
  format::Format format_;
  bool simulated_;
  Change change_;
  format::Plan plan_;
};

// A model whose sequences may be longer than it was made for, to fill blocks of cache.
class Longer final : public pack::testing::Wrapped {
 public:
  Longer(std::shared_ptr<const pack::PackedModel> model, int64_t tokens)
      : Wrapped(std::move(model)), checkpoint_(Wrapped::checkpoint()) {
    checkpoint_.spec.context = tokens;
  }
  const spec::Checkpoint& checkpoint() const override { return checkpoint_; }

 private:
  spec::Checkpoint checkpoint_;
};

}  // namespace halftone::runtime::testing
