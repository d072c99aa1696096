#include "halftone/text/words.h"

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"
#include "halftone_bridge/src/lib.rs.h"
#include "rust/cxx.h"

namespace halftone::text {
namespace {

std::vector<std::string> taken(const bridge::Rows& rows) {
  std::vector<std::string> out;
  out.reserve(rows.texts.size());
  for (const rust::String& word : rows.texts) out.emplace_back(word);
  return out;
}

}  // namespace

std::vector<std::string> split_words(std::string_view text) {
  if (!valid_utf8(text)) throw FileError(Code::utf8, "text", "is not UTF-8");
  return taken(bridge::split_words(rust::Str(text.data(), text.size())));
}

std::vector<std::string> stop_words() { return taken(bridge::stop_words()); }

}  // namespace halftone::text
