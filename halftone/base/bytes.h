// The one way to read bytes that came from outside, and the arithmetic that goes with it.
//
// ByteReader walks a span. Each read checks what is left and throws FileError with the offset;
// loads go through memcpy, because files promise no alignment. Nothing here allocates from a number
// it read.
//
// A reader may be given only the start of a longer source (the header of a file of many GB). Reads
// are then checked against the whole source, and one that is sound but goes past the bytes at hand
// throws NeedMore: its caller fetches that much and begins again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

#include "halftone/base/error.h"

namespace halftone {

// Sizes are int64_t everywhere: a sum or product beyond it is FileError{Code::overflow},
// "WHAT overflows 64 bits", without a path (Error::set_subject gives one).
uint64_t checked_add(uint64_t a, uint64_t b, std::string_view what);
uint64_t checked_mul(uint64_t a, uint64_t b, std::string_view what);
uint64_t round_up(uint64_t x, uint64_t alignment, std::string_view what);

// x as T, or FileError{Code::overflow} naming `what`.
template <class T>
T narrow(uint64_t x, std::string_view what) {
  if (x > static_cast<uint64_t>(std::numeric_limits<T>::max()))
    throw FileError(Code::overflow, {},
                    std::string(what) + " " + std::to_string(x) + " is too large");
  return static_cast<T>(x);
}

// Not an error: that many bytes of the source, counted from its start, are wanted.
struct NeedMore {
  uint64_t bytes;
};

class ByteReader {
 public:
  // `base` is the file offset of data[0], for error texts. `source_size`: bytes of the source when
  // `data` is only its start.
  ByteReader(std::span<const std::byte> data, std::string path, uint64_t base = 0,
             std::optional<uint64_t> source_size = {})
      : data_(data),
        path_(std::move(path)),
        base_(base),
        size_(source_size.value_or(data.size())) {}

  // `what` names the read in the error of a source that ends inside it.
  uint8_t u8() { return load<uint8_t>(); }
  uint16_t u16() { return load<uint16_t>(); }
  uint32_t u32(std::string_view what = {}) { return load<uint32_t>(what); }
  uint64_t u64(std::string_view what = {}) { return load<uint64_t>(what); }
  int8_t i8() { return load<int8_t>(); }
  int16_t i16() { return load<int16_t>(); }
  int32_t i32() { return load<int32_t>(); }
  int64_t i64() { return load<int64_t>(); }
  float f32() { return load<float>(); }
  double f64() { return load<double>(); }
  std::span<const std::byte> bytes(uint64_t n, std::string_view what = {});
  std::string_view str(uint64_t n, uint64_t max,
                       std::string_view what);  // LIMIT over max, TRUNC past the end
  void skip(uint64_t n) { bytes(n); }
  void seek(uint64_t position);

  uint64_t position() const { return position_; }
  uint64_t offset() const { return base_ + position_; }
  uint64_t left() const { return size_ - position_; }
  uint64_t at_hand() const { return data_.size() - position_; }  // of what is left
  uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  [[noreturn]] void fail(Code code, std::string fact) const {
    throw FileError(code, path_, std::move(fact), offset());
  }

 private:
  template <class T>
  T load(std::string_view what = {}) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto raw = bytes(sizeof(T), what);
    T value;
    std::memcpy(&value, raw.data(), sizeof(T));
    return value;
  }
  std::span<const std::byte> data_;
  std::string path_;
  uint64_t base_, size_, position_ = 0;
};

bool valid_utf8(std::string_view text);  // no surrogates, no overlong forms

}  // namespace halftone
