#include "halftone/graph/torch.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <dlfcn.h>

#include <memory>

namespace halftone::graph {
namespace {

// OpenBLAS's own functions, where that is the BLAS torch was linked with: looked up, so that a
// torch with MKL links as well.
template <class Function>
Function* blas_function(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_DEFAULT, name));
}

int blas_threads() {
  static const auto get = blas_function<int()>("openblas_get_num_threads");
  return get ? get() : 0;
}

void set_blas_threads(int threads) {
  static const auto set = blas_function<void(int)>("openblas_set_num_threads");
  if (set && threads > 0 && blas_threads() != threads) set(threads);
}

}  // namespace

void throw_translated(std::string_view subject, const c10::Error& error) {
  std::string text = error.what_without_backtrace();
  text = text.substr(0, text.find('\n'));
  const auto has = [&](std::string_view part) { return text.find(part) != std::string::npos; };
  if (has("allocate memory") || has("out of memory"))
    throw Error(Code::budget, std::string(subject), "not enough memory: " + quote(text, 200),
                "use shorter samples, a lighter model or a machine with more memory");
  if (dynamic_cast<const c10::NotImplementedError*>(&error) != nullptr ||
      has("not compiled with") || has("not linked with"))
    throw UnsupportedError(std::string(subject), "this libtorch cannot do it: " + quote(text, 200),
                           "use device cpu");
  throw Error(Code::internal, std::string(subject), "torch: " + quote(text, 300));
}

TorchThreads::TorchThreads(int64_t threads)
    : old_aten_(at::get_num_threads()), old_blas_(blas_threads()) {
  if (old_aten_ != threads) at::set_num_threads(static_cast<int>(threads));
  set_blas_threads(static_cast<int>(threads));
}

TorchThreads::~TorchThreads() {
  if (at::get_num_threads() != old_aten_) at::set_num_threads(old_aten_);
  set_blas_threads(old_blas_);
}

void use_one_thread_here() {
  if (at::get_num_threads() != 1) at::set_num_threads(1);
}

c10::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return c10::kDouble;
    case DType::f32:
      return c10::kFloat;
    case DType::f16:
      return c10::kHalf;
    case DType::bf16:
      return c10::kBFloat16;
    case DType::i64:
      return c10::kLong;
    case DType::i32:
      return c10::kInt;
    case DType::i16:
      return c10::kShort;
    case DType::i8:
      return c10::kChar;
    case DType::u8:
      return c10::kByte;
    case DType::boolean:
      return c10::kBool;
    default:
      throw UnsupportedError({}, "torch has no dtype " + std::string(dtype_name(dtype)),
                             "convert it to f32 first");
  }
}

DType dtype_of(c10::ScalarType type) {
  switch (type) {
    case c10::kDouble:
      return DType::f64;
    case c10::kFloat:
      return DType::f32;
    case c10::kHalf:
      return DType::f16;
    case c10::kBFloat16:
      return DType::bf16;
    case c10::kLong:
      return DType::i64;
    case c10::kInt:
      return DType::i32;
    case c10::kShort:
      return DType::i16;
    case c10::kChar:
      return DType::i8;
    case c10::kByte:
      return DType::u8;
    case c10::kBool:
      return DType::boolean;
    default:
      throw UnsupportedError({}, "no dtype here for torch's " + std::string(c10::toString(type)));
  }
}

at::Tensor to_torch(HostTensor&& tensor) {
  auto owner = std::make_shared<HostTensor>(std::move(tensor));
  auto options = at::TensorOptions().dtype(scalar_type(owner->dtype()));
  void* data = owner->bytes().data();
  const Shape shape = owner->shape();
  return at::from_blob(
      data, shape, [owner](void*) {}, options);
}

at::Tensor to_torch(Matrix<float>&& matrix) {
  auto owner = std::make_shared<Matrix<float>>(std::move(matrix));
  const Shape shape = {owner->rows, owner->cols};
  return at::from_blob(
      owner->data.data(), shape, [owner](void*) {}, at::TensorOptions().dtype(c10::kFloat));
}

Matrix<float> to_matrix(const at::Tensor& tensor) {
  check(tensor.dim() == 2, "to_matrix wants two dimensions");
  const at::Tensor plain = tensor.detach().to(c10::kCPU, c10::kFloat).contiguous();
  Matrix<float> matrix;
  matrix.rows = plain.size(0);
  matrix.cols = plain.size(1);
  const float* data = plain.data_ptr<float>();
  matrix.data.assign(data, data + plain.numel());
  return matrix;
}

Shape shape_of(const at::Tensor& tensor) { return {tensor.sizes().begin(), tensor.sizes().end()}; }

}  // namespace halftone::graph
