#include "halftone/base/bytes.h"

#include <bit>
#include <cstring>

namespace halftone {

namespace {

[[noreturn]] void overflows(std::string_view what) {
  throw FileError(Code::overflow, {}, std::string(what) + " overflows 64 bits");
}

}  // namespace

uint64_t checked_add(uint64_t a, uint64_t b, std::string_view what) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum) || sum > INT64_MAX) overflows(what);
  return sum;
}

uint64_t checked_mul(uint64_t a, uint64_t b, std::string_view what) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product) || product > INT64_MAX) overflows(what);
  return product;
}

uint64_t round_up(uint64_t x, uint64_t alignment, std::string_view what) {
  return checked_add(x, alignment - 1, what) / alignment * alignment;
}

std::span<const std::byte> ByteReader::bytes(uint64_t n, std::string_view what) {
  if (n > left()) {
    if (what.empty())
      fail(Code::truncated,
           "needs " + std::to_string(n) + " bytes, " + std::to_string(left()) + " are left");
    throw FileError(Code::truncated, path_,
                    "ends inside " + std::string(what) + ": " + std::to_string(n) +
                        " bytes wanted, " + std::to_string(left()) + " left",
                    offset(), "download it again");
  }
  if (n > at_hand()) throw NeedMore{position_ + n};
  const auto out = data_.subspan(position_, n);
  position_ += n;
  return out;
}

std::string_view ByteReader::str(uint64_t n, uint64_t max, std::string_view what) {
  if (n > max && n <= left())
    fail(Code::limit, std::string(what) + " has " + std::to_string(n) + " bytes, the limit is " +
                          std::to_string(max));
  const auto raw = bytes(n, what);
  return {reinterpret_cast<const char*>(raw.data()), raw.size()};
}

void ByteReader::seek(uint64_t position) {
  if (position > size_)
    fail(Code::truncated, "position " + std::to_string(position) + " is past the end (" +
                              std::to_string(size_) + ")");
  if (position > data_.size()) throw NeedMore{position};
  position_ = position;
}

bool valid_utf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto c = static_cast<unsigned char>(text[i]);
    size_t n;
    uint32_t min, point;
    if (c < 0x80) {
      // Texts are mostly ASCII: eight bytes at once, and those before the first other one.
      uint64_t eight = 0;
      if (text.size() - i >= sizeof(eight)) {
        std::memcpy(&eight, text.data() + i, sizeof(eight));
        const uint64_t high = eight & 0x8080808080808080u;
        i += high == 0 ? 8 : static_cast<size_t>(std::countr_zero(high)) / 8;
      } else {
        ++i;
      }
      continue;
    } else if ((c & 0xe0) == 0xc0) {
      n = 1, min = 0x80, point = c & 0x1fu;
    } else if ((c & 0xf0) == 0xe0) {
      n = 2, min = 0x800, point = c & 0x0fu;
    } else if ((c & 0xf8) == 0xf0) {
      n = 3, min = 0x10000, point = c & 0x07u;
    } else {
      return false;
    }
    if (text.size() - i <= n) return false;
    for (size_t k = 1; k <= n; ++k) {
      const auto d = static_cast<unsigned char>(text[i + k]);
      if ((d & 0xc0) != 0x80) return false;
      point = point << 6 | (d & 0x3fu);
    }
    if (point < min || point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
    i += n + 1;
  }
  return true;
}

}  // namespace halftone
