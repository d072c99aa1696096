#include "halftone/text/byte_level.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>

namespace halftone::text {

const std::vector<std::string>& byte_level_alphabet() {
  // Printable bytes stand for themselves, the others for U+0100 onwards (Radford et al. 2019,
  // GPT-2's encoder).
  static const std::vector<std::string> alphabet = [] {
    std::vector<std::string> out(256);
    uint32_t next = 256;
    for (uint32_t b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE);
      const uint32_t c = printable ? b : next++;
      if (c < 0x80) {
        out[b] = std::string(1, static_cast<char>(c));
      } else {
        out[b] = {static_cast<char>(0xC0 | (c >> 6)), static_cast<char>(0x80 | (c & 0x3F))};
      }
    }
    return out;
  }();
  return alphabet;
}

std::string to_byte_level(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) out += byte_level_alphabet()[static_cast<unsigned char>(c)];
  return out;
}

std::string from_byte_level(std::string_view token) {
  static const std::unordered_map<std::string, char> bytes = [] {
    std::unordered_map<std::string, char> out;
    for (size_t b = 0; b < 256; ++b) out.emplace(byte_level_alphabet()[b], static_cast<char>(b));
    return out;
  }();
  std::string out;
  for (size_t i = 0; i < token.size();) {
    const auto lead = static_cast<unsigned char>(token[i]);
    const size_t n = std::min<size_t>(token.size() - i, lead < 0x80   ? 1
                                                        : lead < 0xE0 ? 2
                                                        : lead < 0xF0 ? 3
                                                                      : 4);
    const std::string character(token.substr(i, n));
    const auto it = bytes.find(character);
    if (it != bytes.end()) {
      out += it->second;
    } else {
      out += character;
    }
    i += n;
  }
  return out;
}

}  // namespace halftone::text
