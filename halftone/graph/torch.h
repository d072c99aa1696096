// The border to libtorch: errors, threads, and tensors in and out. Everything above it speaks our
// types.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "halftone/base/error.h"
#include "halftone/base/tensor.h"

namespace halftone::graph {

// Throws our Error for torch's: E_BUDGET when memory ran out, unsupported for a missing device or
// kernel, else internal (our checks should have refused the input before). Only the first line of
// torch's text is kept.
[[noreturn]] void throw_translated(std::string_view subject, const c10::Error& error);

// body(), with c10::Error translated. Every public function of graph/ and calib/ that calls torch
// goes through this.
template <class F>
auto guarded(std::string_view subject, F&& body) -> decltype(body()) {
  try {
    return std::forward<F>(body)();
  } catch (const c10::Error& error) {
    throw_translated(subject, error);
  }
}

// Sets the threads that one torch call may use while it lives: ATen's of the calling thread, and
// BLAS's of the process. Results are bit-reproducible at 1; at more, BLAS may add in another order.
// Not for concurrent use from several threads.
class TorchThreads {
 public:
  explicit TorchThreads(int64_t threads);
  ~TorchThreads();
  TorchThreads(const TorchThreads&) = delete;
  TorchThreads& operator=(const TorchThreads&) = delete;

 private:
  int old_aten_ = 1, old_blas_ = 0;
};
// ATen's share of the above for a worker thread (OpenMP keeps the setting per thread).
void use_one_thread_here();

c10::ScalarType scalar_type(DType dtype);  // UnsupportedError for f8 and wide unsigned types
DType dtype_of(c10::ScalarType type);

// Takes over the memory, no copy; CPU.
at::Tensor to_torch(HostTensor&& tensor);
at::Tensor to_torch(Matrix<float>&& matrix);  // [rows, cols] f32
// Copies. Any float dtype and device -> f32.
Matrix<float> to_matrix(const at::Tensor& tensor);

Shape shape_of(const at::Tensor& tensor);

}  // namespace halftone::graph
