#include "halftone/eval/bleu_words.h"

#include <algorithm>
#include <utility>

#include "halftone/base/error.h"
#include "halftone/eval/character_class.h"
#include "halftone/eval/python_text.h"

namespace halftone::eval {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_stop(char c) { return c == '.' || c == ','; }
// [\{-\~\[-\` -\&\(-\+\:-\@\/] of mteval-v13a: ASCII punctuation without ' , - .
bool stands_alone(char c) {
  return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
         (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

// Pairs of neighbours for which `both` holds, from the left and without overlap, as re.sub finds
// them; `put` writes a pair. Text may be bytes where the classes are ASCII: what stands for "any other
// character" is then the nearest byte of it.
template <class Text, class Both, class Put>
Text replace_pairs(const Text& text, const Both& both, const Put& put) {
  Text out;
  out.reserve(text.size() + text.size() / 4);
  for (size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && both(text[i], text[i + 1])) {
      put(out, text[i], text[i + 1]);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string tokenize_13a(std::string_view line) {
  std::string text(line);
  for (const auto& [from, to] : {std::pair{"<skipped>", ""},
                                 {"-\n", ""},
                                 {"\n", " "},
                                 {"&quot;", "\""},
                                 {"&amp;", "&"},
                                 {"&lt;", "<"},
                                 {"&gt;", ">"}})
    if (text.find(from) != std::string::npos) text = replace_all(std::move(text), from, to);
  std::string apart;
  for (const char c : " " + text + " ") {
    if (stands_alone(c))
      apart.append({' ', c, ' '});
    else
      apart += c;
  }
  text = replace_pairs(
      apart, [](char a, char b) { return !is_digit(a) && is_stop(b); },
      [](std::string& out, char a, char b) {
        out.append({a, ' ', b, ' '});
      });
  text = replace_pairs(
      text, [](char a, char b) { return is_stop(a) && !is_digit(b); },
      [](std::string& out, char a, char b) {
        out.append({' ', a, ' ', b});
      });
  return replace_pairs(
      text, [](char a, char b) { return is_digit(a) && b == '-'; },
      [](std::string& out, char a, char b) {
        out.append({a, ' ', b, ' '});
      });
}

// Punctuation stands alone unless a digit is on the other side of it; symbols always do.
std::string tokenize_international(std::string_view line) {
  const auto is = [](char32_t c, CharacterClass what) { return character_class(c) == what; };
  std::u32string text = replace_pairs(
      characters(line),
      [&](char32_t a, char32_t b) {
        return !is(a, CharacterClass::number) && is(b, CharacterClass::punctuation);
      },
      [](std::u32string& out, char32_t a, char32_t b) {
        out.append({a, U' ', b, U' '});
      });
  text = replace_pairs(
      text,
      [&](char32_t a, char32_t b) {
        return is(a, CharacterClass::punctuation) && !is(b, CharacterClass::number);
      },
      [](std::u32string& out, char32_t a, char32_t b) {
        out.append({U' ', a, U' ', b});
      });
  std::u32string apart;
  for (const char32_t c : text) {
    if (is(c, CharacterClass::symbol))
      apart.append({U' ', c, U' '});
    else
      apart += c;
  }
  return utf8(apart);
}

}  // namespace

std::vector<std::string> words_names() { return {"13a", "char", "none", "intl"}; }

Words words_from(std::string_view name) {
  const auto names = words_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end())
    throw InputError("--tokenize", "there is no tokenizer " + quote(name),
                     did_you_mean(name, names));
  return static_cast<Words>(found - names.begin());
}

std::vector<std::string> split_words(std::string_view line, Words words) {
  const auto owned = [](const std::vector<std::string_view>& pieces) {
    return std::vector<std::string>(pieces.begin(), pieces.end());
  };
  line = rstrip(line);
  if (words == Words::v13a) return owned(split(tokenize_13a(line)));
  if (words == Words::none) return owned(split(line));
  if (words == Words::international) return owned(split(tokenize_international(line)));
  std::vector<std::string> out;
  for (const std::string_view word : split(line))
    for (size_t i = 0; i < word.size(); ++i) {
      if ((static_cast<uint8_t>(word[i]) & 0xc0) != 0x80) out.emplace_back();
      out.back() += word[i];
    }
  return out;
}

}  // namespace halftone::eval
