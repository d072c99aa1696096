// Patterns over module names, as quantization configs use them. Patterns come out of a file, so
// they are bounded: at most 512 bytes, no counted repeats, and a matcher whose time is polynomial
// (no backtracking), which excludes back-references.
#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace halftone::pack {

// A regular expression matched from the start of a name; its end is free (Python's re.match, PCRE
// anchored left).
class ModuleRegex {
 public:
  // UnsupportedError naming `path` and the pattern when it is too long or uses what we do not
  // match.
  ModuleRegex(std::string_view pattern, const std::string& path);
  bool matches(const std::string& module) const;

 private:
  struct Compiled;
  std::shared_ptr<const Compiled> compiled_;
};

}  // namespace halftone::pack
