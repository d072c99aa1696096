// Text as the Python of lm-eval treats it, where that decides a score: what counts as a space, how
// long a text is, how a number is written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::eval {

std::string_view rstrip(std::string_view text);    // str.rstrip(), Unicode spaces included
std::string_view strip(std::string_view text);     // str.strip()
int64_t code_points(std::string_view text);        // len(str); text is UTF-8
std::u32string characters(std::string_view text);  // list(str)
std::string utf8(std::u32string_view text);        // and back
std::vector<std::string_view> split(std::string_view text);  // str.split(): no empty pieces
std::string replace_all(std::string text, std::string_view from, std::string_view to);
// len(re.split(r"\s+", text)): the empty pieces before a leading and after a trailing space count.
int64_t count_split_by_spaces(std::string_view text);
// str.capitalize(): the first character upper case, the others lower case, by the C library's
// tables (one character for one: Python's German sharp s and a few more differ). UnsupportedError
// on a system without a UTF-8 locale.
std::string capitalize(std::string_view text);
std::string repr(double value);  // repr(float): shortest digits that read back as the same

}  // namespace halftone::eval
