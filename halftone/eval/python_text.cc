#include "halftone/eval/python_text.h"

#include <algorithm>
#include <charconv>
#include <clocale>
#include <cmath>
#include <cwctype>
#include <memory>

#include "halftone/base/error.h"

namespace halftone::eval {
namespace {

// The character at `i` and its bytes; text is valid UTF-8.
struct Character {
  uint32_t code;
  size_t bytes;
};
Character character_at(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) {
    return static_cast<uint32_t>(static_cast<uint8_t>(text[i + k]));
  };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xe0) return {(lead & 0x1f) << 6 | (byte(1) & 0x3f), 2};
  if (lead < 0xf0) return {(lead & 0xf) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f), 3};
  return {(lead & 7) << 18 | (byte(1) & 0x3f) << 12 | (byte(2) & 0x3f) << 6 | (byte(3) & 0x3f), 4};
}

void append_utf8(std::string& out, uint32_t c) {
  const auto put = [&](uint32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xc0 | c >> 6);
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
  }
  put(0x80 | (c & 0x3f));
}

// str.isspace, and \s of re.
bool is_space(uint32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

}  // namespace

std::string_view rstrip(std::string_view text) {
  size_t end = 0;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    i += c.bytes;
    if (!is_space(c.code)) end = i;
  }
  return text.substr(0, end);
}

std::string_view strip(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const Character c = character_at(text, i);
    if (!is_space(c.code)) break;
    i += c.bytes;
  }
  return rstrip(text.substr(i));
}

int64_t code_points(std::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; });
}

std::u32string characters(std::string_view text) {
  std::u32string out;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    i += c.bytes;
    out += static_cast<char32_t>(c.code);
  }
  return out;
}

std::string utf8(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    if (is_space(c.code)) {
      if (i > begin) out.push_back(text.substr(begin, i - begin));
      begin = i + c.bytes;
    }
    i += c.bytes;
  }
  if (begin < text.size()) out.push_back(text.substr(begin));
  return out;
}

std::string replace_all(std::string text, std::string_view from, std::string_view to) {
  std::string out;
  size_t at = 0;
  for (size_t found = text.find(from); found != std::string::npos; found = text.find(from, at)) {
    out.append(text, at, found - at).append(to);
    at = found + from.size();
  }
  return out.append(text, at);
}

int64_t count_split_by_spaces(std::string_view text) {
  int64_t pieces = 1;
  bool space = false;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    i += c.bytes;
    const bool now = is_space(c.code);
    pieces += now && !space;
    space = now;
  }
  return pieces;
}

std::string capitalize(std::string_view text) {
  struct Free {
    void operator()(locale_t l) const { freelocale(l); }
  };
  static const std::unique_ptr<std::remove_pointer_t<locale_t>, Free> locale(
      newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr));
  if (!locale)
    throw UnsupportedError("C.UTF-8",
                           "this system has no such locale, whose tables know lower case",
                           "install the C library's locales");
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const Character c = character_at(text, i);
    const auto wide = static_cast<wint_t>(c.code);
    append_utf8(out, static_cast<uint32_t>(i == 0 ? towupper_l(wide, locale.get())
                                                  : towlower_l(wide, locale.get())));
    i += c.bytes;
  }
  return out;
}

std::string repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char buffer[40];
  // Python: an exponent below 1e-4 and from 1e16 on.
  const double size = std::abs(value);
  const auto format = size != 0 && (size < 1e-4 || size >= 1e16) ? std::chars_format::scientific
                                                                 : std::chars_format::fixed;
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), value, format).ptr;
  std::string out(buffer, end);
  if (out.find_first_of(".e") == std::string::npos) out += ".0";
  return out;
}

}  // namespace halftone::eval
