// Numbers as people read them, the same in the terminal and on pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace halftone {

// `digits` significant digits; an exponent only below 1e-4 and from 1e7 on. "0.0123", "1.23e-05".
std::string significant(double x, int digits = 3);
std::string fixed(double x, int digits);   // that many behind the point
double rounded(double x, int digits = 3);  // what significant() says, as a number

// "1 window", "2 windows".
std::string counted(int64_t n, const std::string& thing);

// Places that UTF-8 text takes in a line: bytes that go on with a character take none.
size_t columns(std::string_view text);

}  // namespace halftone
