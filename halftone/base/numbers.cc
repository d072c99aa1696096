#include "halftone/base/numbers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace halftone {

std::string significant(double x, int digits) {
  char buffer[64];
  if (x == 0 || !std::isfinite(x)) {
    std::snprintf(buffer, sizeof(buffer), "%g", x);
    return buffer;
  }
  const int magnitude = static_cast<int>(std::floor(std::log10(std::abs(x))));
  if (magnitude < -4 || magnitude > 6)
    std::snprintf(buffer, sizeof(buffer), "%.*e", digits - 1, x);
  else
    std::snprintf(buffer, sizeof(buffer), "%.*f", std::max(0, digits - 1 - magnitude), x);
  return buffer;
}

std::string fixed(double x, int digits) {
  char buffer[64];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, x);
  return buffer;
}

double rounded(double x, int digits) {
  return std::strtod(significant(x, digits).c_str(), nullptr);
}

std::string counted(int64_t n, const std::string& thing) {
  return std::to_string(n) + " " + thing + (n == 1 ? "" : "s");
}

size_t columns(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

}  // namespace halftone
