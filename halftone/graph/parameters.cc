#include "halftone/graph/parameters.h"

#include <c10/core/Device.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

#include <optional>

#include "halftone/graph/torch.h"

namespace halftone::graph {
at::TensorOptions to_torch(const TensorOptions& options) {
  switch (options.dtype) {
    case DType::f64:
    case DType::f32:
    case DType::f16:
    case DType::bf16:
      break;
    default:
      throw UnsupportedError(
          "dtype", "the graph does not compute in " + std::string(dtype_name(options.dtype)),
          "use f32, f64, bf16 or f16");
  }
  std::optional<c10::Device> device;
  try {
    device.emplace(options.device);
  } catch (const c10::Error&) {
    throw InputError("device", "unknown device " + quote(options.device),
                     "use cpu, cuda or cuda:N");
  }
  const auto* guard =
      c10::impl::device_guard_impl_registry[static_cast<size_t>(device->type())].load();
  if (guard == nullptr || (device->has_index() && device->index() >= guard->deviceCount()) ||
      guard->deviceCount() == 0)
    throw UnsupportedError("device " + options.device, "this libtorch or this machine has it not",
                           "use cpu");
  return at::TensorOptions().dtype(scalar_type(options.dtype)).device(*device);
}

void Parameters::load(const files::TensorSource& source, const spec::TensorRef& ref) {
  if (!has(ref.name)) set(ref, source.read(ref.name));
}

void Parameters::set(const spec::TensorRef& ref, HostTensor&& tensor) {
  if (tensor.shape() != ref.shape)
    throw ShapeError(
        ref.name, "is " + to_string(tensor.shape()) + ", the model wants " + to_string(ref.shape));
  guarded(ref.name, [&] {
    // Converted here rather than by torch, so that every dtype a file may hold means the same in
    // both engines.
    const bool wide = tensor.dtype() == DType::f64 && options_.dtype() == c10::kDouble;
    HostTensor plain = wide || tensor.dtype() == DType::f32 ? std::move(tensor) : to_f32(tensor);
    tensors_.insert_or_assign(ref.name, to_torch(std::move(plain)).to(options_));
  });
}

void Parameters::clear() {
  tensors_.clear();
  linears_.clear();
}

const at::Tensor& Parameters::at(const std::string& name) const {
  const auto found = tensors_.find(name);
  check(found != tensors_.end(), "tensor " + name + " was not loaded before it was used");
  return found->second;
}

const SimulatedLinear* Parameters::decorated(const std::string& op) const {
  const auto found = linears_.find(op);
  return found == linears_.end() ? nullptr : &found->second;
}

void Parameters::set_requires_grad(bool wanted) {
  for (auto& [name, tensor] : tensors_) tensor.set_requires_grad(wanted);
}

Matrix<float> Parameters::weight(const spec::Linear& linear) const {
  return guarded(linear.weight.name, [&] {
    const at::Tensor& stored = at(linear.weight.name);
    return to_matrix(linear.weight.transposed ? stored.t() : stored);
  });
}

void Parameters::set_weight(const spec::Linear& linear, const Matrix<float>& w) {
  if (w.rows != linear.out || w.cols != linear.in)
    throw ShapeError(linear.weight.name, "given " + to_string(Shape{w.rows, w.cols}) +
                                             ", the linear is " +
                                             to_string(Shape{linear.out, linear.in}));
  guarded(linear.weight.name, [&] {
    const at::Tensor borrowed = to_torch(Matrix<float>(w));
    tensors_.insert_or_assign(
        linear.weight.name,
        (linear.weight.transposed ? borrowed.t().contiguous() : borrowed).to(options_));
  });
}

}  // namespace halftone::graph
