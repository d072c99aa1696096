#include "halftone/text/regex_shape.h"

#include <cctype>
#include <cstdint>
#include <vector>

namespace halftone::text {
namespace {

struct Group {
  bool unbounded = false;  // holds *, + or {n,} somewhere inside
  uint64_t repeat = 1;     // product of the counted repetitions inside
};

// Reads {n}, {n,}, {n,m} at text[i]; `end` is past the brace. False when it is not a quantifier (a
// literal brace).
bool read_count(std::string_view text, size_t i, size_t& end, uint64_t& most, bool& open) {
  size_t at = i + 1;
  uint64_t low = 0, high = 0;
  const auto number = [&](uint64_t& out) {
    const size_t start = at;
    while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) && at - start < 9)
      out = out * 10 + static_cast<uint64_t>(text[at++] - '0');
    return at > start;
  };
  if (!number(low)) return false;
  most = low;
  open = false;
  if (at < text.size() && text[at] == ',') {
    ++at;
    if (number(high)) {
      most = high;
    } else {
      open = true;
    }
  }
  if (at >= text.size() || text[at] != '}') return false;
  end = at + 1;
  return true;
}

// Past the character class that begins at text[i] == '['; classes nest.
size_t skip_class(std::string_view text, size_t i) {
  size_t depth = 0;
  while (i < text.size()) {
    if (text[i] == '\\') {
      i += 2;
      continue;
    }
    if (text[i] == '[') {
      ++depth;
      // "[]" and "[^]" begin with a literal bracket.
      if (i + 1 < text.size() && text[i + 1] == '^') ++i;
      if (i + 1 < text.size() && text[i + 1] == ']') ++i;
    } else if (text[i] == ']' && --depth == 0) {
      return i + 1;
    }
    ++i;
  }
  return text.size();
}

}  // namespace

std::optional<std::string> regex_danger(std::string_view text, const Limits& limits) {
  if (text.size() > limits.regex_bytes)
    return "is longer than " + std::to_string(limits.regex_bytes) + " bytes";
  std::vector<Group> groups(1);
  Group last;  // what a quantifier at this point would repeat
  size_t i = 0;
  while (i < text.size()) {
    const char c = text[i];
    if (c == '\\') {
      if (i + 1 >= text.size()) break;
      const char e = text[i + 1];
      if ((e >= '1' && e <= '9') || e == 'k' || e == 'g') return "uses a back-reference";
      i += 2;
      if ((e == 'p' || e == 'P' || e == 'x' || e == 'u') && i < text.size() && text[i] == '{') {
        while (i < text.size() && text[i] != '}') ++i;
        ++i;
      }
      last = {};
    } else if (c == '[') {
      i = skip_class(text, i);
      last = {};
    } else if (c == '(') {
      if (groups.size() > limits.regex_depth)
        return "is nested deeper than " + std::to_string(limits.regex_depth);
      const std::string_view head = text.substr(i, 4);
      if (head.starts_with("(?(")) return "uses a conditional";
      if (head.starts_with("(?P=") || head.starts_with("(?P>") || head.starts_with("(?R") ||
          head.starts_with("(?&"))
        return "uses a back-reference";
      groups.emplace_back();
      last = {};
      // Step over the head, so that its '?' is not taken for a quantifier.
      i += head.starts_with("(?") ? size_t{2} : size_t{1};
    } else if (c == ')') {
      ++i;
      if (groups.size() == 1) return "closes a group that was never opened";
      last = groups.back();
      groups.pop_back();
      groups.back().unbounded |= last.unbounded;
      groups.back().repeat = std::max(groups.back().repeat, last.repeat);
    } else if (c == '*' || c == '+' || c == '?' || c == '{') {
      uint64_t most = 1;
      bool open = c == '*' || c == '+';
      size_t end = i + 1;
      if (c == '{' && !read_count(text, i, end, most, open)) {
        last = {};
        ++i;
        continue;
      }
      i = end;
      // A lazy or possessive mark belongs to the quantifier.
      if (i < text.size() && (text[i] == '?' || text[i] == '+')) ++i;
      if (open && last.unbounded) return "repeats a repetition without bound";
      if (last.unbounded && most > 1) return "repeats a repetition without bound";
      if (most > limits.regex_repeat || most * last.repeat > limits.regex_repeat)
        return "repeats more than " + std::to_string(limits.regex_repeat) + " times by count";
      last.repeat *= std::max<uint64_t>(most, 1);
      last.unbounded |= open;
      groups.back().unbounded |= last.unbounded;
      groups.back().repeat = std::max(groups.back().repeat, last.repeat);
    } else {
      last = {};
      ++i;
    }
  }
  return {};
}

}  // namespace halftone::text
