#include "halftone/base/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#include "halftone/base/error.h"
#include "halftone/base/half.h"

namespace halftone {

int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::f64:
    case DType::i64:
    case DType::u64:
      return 8;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
    case DType::u16:
      return 2;
    default:
      return 1;
  }
}

std::string_view dtype_name(DType dtype) {
  static constexpr std::string_view kNames[] = {
      "f64", "f32", "f16", "bf16", "f8_e4m3", "f8_e5m2", "f8_e8m0", "i64",
      "i32", "i16", "i8",  "u64",  "u32",     "u16",     "u8",      "bool"};
  return kNames[static_cast<size_t>(dtype)];
}

int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t d : shape) count *= d;
  return count;
}

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

void HostTensor::Free::operator()(std::byte* p) const { std::free(p); }

HostTensor::HostTensor(DType dtype, Shape shape)
    : dtype_(dtype), shape_(std::move(shape)), count_(element_count(shape_)) {
  const size_t bytes = static_cast<size_t>(count_ * dtype_bytes(dtype_));
  const size_t padded = (bytes + 127) / 64 * 64;  // room for a whole vector read past the end
  auto* p = static_cast<std::byte*>(std::aligned_alloc(64, padded));
  if (p == nullptr) throw std::bad_alloc();
  std::memset(p, 0, padded);
  data_.reset(p);
}

HostTensor HostTensor::clone() const {
  HostTensor copy(dtype_, shape_);
  std::copy_n(data_.get(), bytes().size(), copy.data_.get());
  return copy;
}

float f8_e4m3_to_f32(uint8_t x) {
  const int exponent = (x >> 3) & 15, mantissa = x & 7;
  if ((x & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude =
      exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                    : std::ldexp(1.0f + static_cast<float>(mantissa) / 8.0f, exponent - 7);
  return (x & 0x80) ? -magnitude : magnitude;
}

float f8_e5m2_to_f32(uint8_t x) { return f16_to_f32(static_cast<uint16_t>(x << 8)); }

float f8_e8m0_to_f32(uint8_t x) {
  if (x == 255) return std::numeric_limits<float>::quiet_NaN();
  return std::ldexp(1.0f, static_cast<int>(x) - 127);
}

namespace {
template <class T, class F>
void convert(const HostTensor& in, HostTensor& out, F&& f) {
  const auto source = in.as<T>();
  const auto target = out.as<float>();
  for (size_t i = 0; i < source.size(); ++i) target[i] = f(source[i]);
}
template <class T>
void by_value(const HostTensor& in, HostTensor& out) {
  convert<T>(in, out, [](T v) { return static_cast<float>(v); });
}
}  // namespace

void to_f32(DType dtype, const std::byte* values, std::span<float> out) {
  if (dtype == DType::f32) {
    std::memcpy(out.data(), values, out.size_bytes());
    return;
  }
  check(dtype == DType::f16 || dtype == DType::bf16, "values of another type are widened");
  for (size_t i = 0; i < out.size(); ++i) {
    uint16_t bits = 0;
    std::memcpy(&bits, values + 2 * i, 2);
    out[i] = dtype == DType::f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
  }
}

HostTensor to_f32(const HostTensor& tensor) {
  HostTensor out(DType::f32, tensor.shape());
  switch (tensor.dtype()) {
    case DType::f32:
      std::copy_n(tensor.bytes().data(), tensor.bytes().size(), out.bytes().data());
      break;
    case DType::f64:
      by_value<double>(tensor, out);
      break;
    case DType::f16:
      convert<uint16_t>(tensor, out, f16_to_f32);
      break;
    case DType::bf16:
      convert<uint16_t>(tensor, out, bf16_to_f32);
      break;
    case DType::f8_e4m3:
      convert<uint8_t>(tensor, out, f8_e4m3_to_f32);
      break;
    case DType::f8_e5m2:
      convert<uint8_t>(tensor, out, f8_e5m2_to_f32);
      break;
    case DType::f8_e8m0:
      convert<uint8_t>(tensor, out, f8_e8m0_to_f32);
      break;
    case DType::i64:
      by_value<int64_t>(tensor, out);
      break;
    case DType::i32:
      by_value<int32_t>(tensor, out);
      break;
    case DType::i16:
      by_value<int16_t>(tensor, out);
      break;
    case DType::i8:
      by_value<int8_t>(tensor, out);
      break;
    case DType::u64:
      by_value<uint64_t>(tensor, out);
      break;
    case DType::u32:
      by_value<uint32_t>(tensor, out);
      break;
    case DType::u16:
      by_value<uint16_t>(tensor, out);
      break;
    case DType::u8:
    case DType::boolean:
      by_value<uint8_t>(tensor, out);
      break;
  }
  return out;
}

HostTensor from_f32(const HostTensor& tensor, DType dtype) {
  check(tensor.dtype() == DType::f32, "from_f32 takes an f32 tensor");
  HostTensor out(dtype, tensor.shape());
  const auto source = tensor.as<float>();
  if (dtype == DType::f32) {
    std::copy(source.begin(), source.end(), out.as<float>().begin());
  } else if (dtype == DType::f16) {
    std::transform(source.begin(), source.end(), out.as<uint16_t>().begin(), f32_to_f16);
  } else {
    check(dtype == DType::bf16, "from_f32 writes f32, f16 or bf16");
    std::transform(source.begin(), source.end(), out.as<uint16_t>().begin(), f32_to_bf16);
  }
  return out;
}

bool overflows_f16(std::span<const float> values) {
  return std::any_of(values.begin(), values.end(), [](float v) { return std::abs(v) >= 65520.0f; });
}

}  // namespace halftone
