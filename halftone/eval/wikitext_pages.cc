#include "halftone/eval/wikitext_pages.h"

#include <array>
#include <utility>

#include "halftone/eval/python_text.h"

namespace halftone::eval {
namespace {

// re.sub(r"OPEN\s*([^CLOSE]*?)\s*CLOSE", r"OPEN\1CLOSE", text): no space inside the pair. For
// quotes OPEN and CLOSE are the same.
std::string tighten(std::string_view text, char open, char close) {
  std::string out;
  size_t i = 0;
  while (i < text.size()) {
    const size_t begin = text.find(open, i);
    const size_t end = begin == std::string_view::npos ? begin : text.find(close, begin + 1);
    if (end == std::string_view::npos) break;
    out.append(text, i, begin - i) += open;
    out.append(strip(text.substr(begin + 1, end - begin - 1))) += close;
    i = end + 1;
  }
  return out.append(text.substr(i));
}

}  // namespace

std::vector<std::string> wikitext_pages(std::string_view text) {
  std::vector<std::string> pages;
  std::string page;
  bool begun = false;  // the first line of a page has no newline before it
  const auto add = [&](std::string_view line) {
    if (begun) page += '\n';
    page += line;
    begun = true;
  };
  for (size_t i = 0;;) {
    const size_t end = std::min(text.find('\n', i), text.size());
    const std::string_view line = text.substr(i, end - i);
    const std::string level =
        replace_all(replace_all(std::string(line), "= = =", "==="), "= =", "==");
    const std::string_view title = strip(level);
    if (title.starts_with("= ") && title.ends_with(" =") && !strip(page).empty()) {
      pages.push_back(std::exchange(page, {}));
      begun = false;
    }
    add(line);
    if (end == text.size()) break;
    i = end + 1;
  }
  pages.push_back(page);
  return pages;
}

std::string wikitext_detokenize(std::string s) {
  using Pair = std::pair<std::string_view, std::string_view>;
  for (const auto& [from, to] : std::array<Pair, 10>{{{"s '", "s'"},
                                                      {" @-@ ", "-"},
                                                      {" @,@ ", ","},
                                                      {" @.@ ", "."},
                                                      {" : ", ": "},
                                                      {" ; ", "; "},
                                                      {" . ", ". "},
                                                      {" ! ", "! "},
                                                      {" ? ", "? "},
                                                      {" , ", ", "}}})
    s = replace_all(std::move(s), from, to);
  for (const auto& [open, close] :
       {std::pair('(', ')'), {'[', ']'}, {'{', '}'}, {'"', '"'}, {'\'', '\''}})
    s = tighten(s, open, close);
  for (const auto& [from, to] : std::array<Pair, 8>{{{"= = = =", "===="},
                                                     {"= = =", "==="},
                                                     {"= =", "=="},
                                                     {" \u00b0 ", "\u00b0"},
                                                     {" \n", "\n"},
                                                     {"\n ", "\n"},
                                                     {" N ", " 1 "},
                                                     {" 's", "'s"}}})
    s = replace_all(std::move(s), from, to);
  return s;
}

}  // namespace halftone::eval
