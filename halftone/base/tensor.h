// The lean tensor: a dtype, a shape and bytes. What files hold and parts exchange; engines have
// their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halftone {

enum class DType : uint8_t {
  f64,
  f32,
  f16,
  bf16,
  f8_e4m3,
  f8_e5m2,
  f8_e8m0,
  i64,
  i32,
  i16,
  i8,
  u64,
  u32,
  u16,
  u8,
  boolean,
};
int64_t dtype_bytes(DType dtype);
std::string_view dtype_name(DType dtype);  // "f32"

using Shape = std::vector<int64_t>;
int64_t element_count(
    const Shape& shape);  // the caller has checked that the product fits (files/ does)
std::string to_string(const Shape& shape);  // "[576, 1536]"

// Owns its bytes (64-byte aligned). Move-only in spirit: copies are explicit through clone().
class HostTensor {
 public:
  HostTensor() = default;
  HostTensor(DType dtype, Shape shape);  // zero-filled
  HostTensor(HostTensor&&) noexcept = default;
  HostTensor& operator=(HostTensor&&) noexcept = default;
  HostTensor clone() const;

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int64_t i) const { return shape_[static_cast<size_t>(i)]; }
  int64_t count() const { return count_; }
  std::span<std::byte> bytes() {
    return {data_.get(), static_cast<size_t>(count_ * dtype_bytes(dtype_))};
  }
  std::span<const std::byte> bytes() const {
    return {data_.get(), static_cast<size_t>(count_ * dtype_bytes(dtype_))};
  }
  template <class T>
  std::span<T> as() {
    return {reinterpret_cast<T*>(data_.get()), static_cast<size_t>(count_)};
  }
  template <class T>
  std::span<const T> as() const {
    return {reinterpret_cast<const T*>(data_.get()), static_cast<size_t>(count_)};
  }

 private:
  struct Free {
    void operator()(std::byte* p) const;
  };
  DType dtype_ = DType::f32;
  Shape shape_;
  int64_t count_ = 0;
  std::unique_ptr<std::byte[], Free> data_;
};

// Any float dtype -> f32 (exact for f16, bf16, f8; rounds f64). Integer dtypes are converted by
// value.
HostTensor to_f32(const HostTensor& tensor);
// f32, f16 or bf16 values at any alignment -> f32.
void to_f32(DType dtype, const std::byte* values, std::span<float> out);
// f32 -> f16, bf16 or f32, round half to even. f16 overflow gives infinity: callers check with
// `overflows_f16`.
HostTensor from_f32(const HostTensor& tensor, DType dtype);
bool overflows_f16(std::span<const float> values);

// A row-major matrix that algorithms work on. W is [N out, K in] as in Hugging Face.
template <class T>
struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<T> data;
  Matrix() = default;
  Matrix(int64_t r, int64_t c) : rows(r), cols(c), data(static_cast<size_t>(r * c)) {}
  std::span<T> row(int64_t r) { return {data.data() + r * cols, static_cast<size_t>(cols)}; }
  std::span<const T> row(int64_t r) const {
    return {data.data() + r * cols, static_cast<size_t>(cols)};
  }
  T& at(int64_t r, int64_t c) { return data[static_cast<size_t>(r * cols + c)]; }
  const T& at(int64_t r, int64_t c) const { return data[static_cast<size_t>(r * cols + c)]; }
  bool operator==(const Matrix&) const = default;
};

}  // namespace halftone
