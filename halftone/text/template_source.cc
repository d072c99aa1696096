#include "halftone/text/template_source.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdint>
#include <vector>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"

namespace halftone::text {
namespace {

constexpr std::array<std::string_view, 9> kOpening = {
    "autoescape", "block", "call", "filter", "for", "generation", "if", "macro", "with"};

class Scanner {
 public:
  Scanner(std::string_view source, const std::string& name, const Limits& limits)
      : in_(source), name_(name), limits_(limits) {}

  std::string run() {
    size_t at = 0;
    while (true) {
      const size_t open = next_tag(at);
      out_ += in_.substr(at, open - at);
      if (open == std::string_view::npos) break;
      const char kind = in_[open + 1];
      at = kind == '#' ? comment(open) : tag(open, kind);
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void fail(Code code, std::string fact, size_t at) const {
    throw FileError(code, name_, std::move(fact), at);
  }

  size_t next_tag(size_t at) const {
    while ((at = in_.find('{', at)) != std::string_view::npos) {
      if (at + 1 < in_.size() && (in_[at + 1] == '%' || in_[at + 1] == '{' || in_[at + 1] == '#'))
        return at;
      ++at;
    }
    return at;
  }

  size_t comment(size_t open) {
    const size_t end = in_.find("#}", open + 2);
    if (end == std::string_view::npos)
      fail(Code::value, "a comment of the template never ends", open);
    out_ += in_.substr(open, end + 2 - open);
    return end + 2;
  }

  // Past the end of a {% or {{ tag; quotes and brackets are followed, so that "%}" inside text does
  // not end it.
  size_t tag_end(size_t open, char kind) const {
    const char close = kind == '%' ? '%' : '}';
    uint64_t depth = 0;
    for (size_t i = open + 2; i < in_.size(); ++i) {
      const char c = in_[i];
      if (c == '"' || c == '\'') {
        for (++i; i < in_.size() && in_[i] != c; ++i)
          if (in_[i] == '\\') ++i;
      } else if (c == '(' || c == '[' || (c == '{')) {
        if (++depth > limits_.template_depth)
          fail(Code::depth,
               "brackets of the template are nested deeper than " +
                   std::to_string(limits_.template_depth),
               open);
      } else if (c == close && i + 1 < in_.size() && in_[i + 1] == '}' &&
                 (kind == '%' || depth == 0)) {
        return i + 2;
      } else if ((c == ')' || c == ']' || c == '}') && depth > 0) {
        --depth;
      }
    }
    fail(Code::value, "a tag of the template never ends", open);
  }

  size_t tag(size_t open, char kind) {
    const size_t end = tag_end(open, kind);
    const std::string_view whole = in_.substr(open, end - open);
    if (kind != '%') {
      out_ += whole;
      return end;
    }
    size_t from = 2;
    if (whole[from] == '-' || whole[from] == '+') ++from;
    while (from < whole.size() && std::isspace(static_cast<unsigned char>(whole[from]))) ++from;
    size_t to = from;
    while (to < whole.size() &&
           (std::isalnum(static_cast<unsigned char>(whole[to])) || whole[to] == '_'))
      ++to;
    const std::string_view word = whole.substr(from, to - from);
    if (word == "raw") return raw(open, end);
    count(word, open);
    out_ += whole.substr(0, from);
    out_ += word == "generation" ? "with" : word == "endgeneration" ? "endwith" : word;
    out_ += whole.substr(to);
    return end;
  }

  // The engine's parser descends for each of these, and once more for each elif.
  void count(std::string_view word, size_t open) {
    if (std::find(kOpening.begin(), kOpening.end(), word) != kOpening.end() || word == "elif") {
      if (++blocks_ > limits_.template_depth)
        fail(Code::depth,
             "blocks of the template are nested deeper than " +
                 std::to_string(limits_.template_depth),
             open);
      if (word != "elif") {
        chain_.push_back(0);
      } else if (!chain_.empty()) {
        ++chain_.back();
      }
    } else if (word.starts_with("end") && word != "endset" && !chain_.empty()) {
      blocks_ -= std::min(blocks_, chain_.back() + 1);
      chain_.pop_back();
    }
  }

  size_t raw(size_t open, size_t end) {
    for (size_t at = end; (at = in_.find("{%", at)) != std::string_view::npos; at += 2) {
      size_t word = at + 2;
      if (word < in_.size() && (in_[word] == '-' || in_[word] == '+')) ++word;
      while (word < in_.size() && std::isspace(static_cast<unsigned char>(in_[word]))) ++word;
      if (in_.substr(word).starts_with("endraw")) {
        const size_t close = in_.find("%}", word);
        if (close == std::string_view::npos) break;
        out_ += in_.substr(open, close + 2 - open);
        return close + 2;
      }
    }
    fail(Code::value, "a raw block of the template never ends", open);
  }

  std::string_view in_;
  const std::string& name_;
  const Limits& limits_;
  std::string out_;
  uint64_t blocks_ = 0;
  std::vector<uint64_t> chain_;  // elifs of each open block
};

}  // namespace

std::string prepare_template(std::string_view source, const std::string& name,
                             const Limits& limits) {
  if (source.size() > limits.template_source_bytes)
    throw FileError(Code::limit, name,
                    "the chat template is longer than " +
                        std::to_string(limits.template_source_bytes) + " bytes");
  if (!valid_utf8(source)) throw FileError(Code::utf8, name, "the chat template is not UTF-8");
  if (source.find('\0') != std::string_view::npos)
    throw FileError(Code::value, name, "the chat template holds a NUL byte");
  return Scanner(source, name, limits).run();
}

}  // namespace halftone::text
