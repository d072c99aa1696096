// The tensors of a model, or of the one block at hand: leaves of the autograd graph under their
// Hugging Face names, and linears that were replaced by decorated ones (simulated quantization).
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "halftone/files/tensor_source.h"
#include "halftone/pack/decorated_linear.h"
#include "halftone/spec/model_spec.h"

namespace halftone::graph {

struct TensorOptions {
  std::string device = "cpu";  // as torch writes it: "cpu", "cuda", "cuda:1"
  DType dtype = DType::f32;    // of parameters and of the arithmetic: f32, f64, bf16, f16
  bool operator==(const TensorOptions&) const = default;
};
// InputError for a device that torch does not know, UnsupportedError for one that this libtorch has
// not.
at::TensorOptions to_torch(const TensorOptions& options);

// y = (x * input_scale) W^T + b with W [out, in] dequantized from codes.
struct SimulatedLinear {
  at::Tensor weight, input_scale, bias;  // the last two may be undefined
};

class Parameters {
 public:
  explicit Parameters(const TensorOptions& options = {}) : options_(to_torch(options)) {}

  // Reads one tensor (nothing when it is there already). FileError as `source` throws it;
  // ShapeError when it is not ref.shape.
  void load(const files::TensorSource& source, const spec::TensorRef& ref);
  // Any float dtype; converted to ours. Replaces.
  void set(const spec::TensorRef& ref, HostTensor&& tensor);
  // From now on `linear.name` computes with this. Dense decorated linears too.
  void decorate(const pack::DecoratedLinear& linear);
  void clear();

  bool has(const std::string& name) const { return tensors_.contains(name); }
  const at::Tensor& at(
      const std::string& name) const;  // internal error when absent: the caller loads first
  const SimulatedLinear* decorated(const std::string& op) const;
  const std::map<std::string, at::Tensor>& tensors() const { return tensors_; }
  bool any_decorated() const { return !linears_.empty(); }
  void set_requires_grad(bool wanted);  // all tensors; leaves keep their gradients until cleared

  // W of a linear as [out, in], whatever way it is stored.
  Matrix<float> weight(const spec::Linear& linear) const;
  void set_weight(const spec::Linear& linear,
                  const Matrix<float>& w);  // ShapeError when not [out, in]

  const at::TensorOptions& options() const { return options_; }

 private:
  at::TensorOptions options_;
  std::map<std::string, at::Tensor> tensors_;
  std::map<std::string, SimulatedLinear> linears_;
};

}  // namespace halftone::graph
