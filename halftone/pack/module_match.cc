#include "halftone/pack/module_match.h"

#include <regex>

#include "halftone/base/error.h"

namespace halftone::pack {

struct ModuleRegex::Compiled {
  std::regex regex;
};

ModuleRegex::ModuleRegex(std::string_view pattern, const std::string& path) {
  const std::string what = "module pattern " + quote(pattern);
  if (pattern.size() > 512)
    throw UnsupportedError(path, what + " is longer than 512 bytes", "name the modules instead");
  if (pattern.find('{') != std::string_view::npos)
    throw UnsupportedError(path, what + " has a counted repeat",
                           "write the repeat out or name the modules");
  try {
    // libstdc++'s breadth-first executor: time is bounded by pattern x name.
    compiled_ = std::make_shared<Compiled>(
        Compiled{std::regex(pattern.begin(), pattern.end(),
                            std::regex::ECMAScript | std::regex_constants::__polynomial)});
  } catch (const std::regex_error&) {
    throw UnsupportedError(path, what + " cannot be matched", "name the modules instead");
  }
}

bool ModuleRegex::matches(const std::string& module) const {
  return std::regex_search(module, compiled_->regex, std::regex_constants::match_continuous);
}

}  // namespace halftone::pack
