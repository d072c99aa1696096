#include "halftone/base/error.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "halftone/base/bytes.h"

namespace halftone {
namespace {

void escape(std::string& out, unsigned char c) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += "\\x";
  out += kHex[c >> 4];
  out += kHex[c & 15];
}

}  // namespace

std::string_view code_name(Code code) {
  switch (code) {
    case Code::truncated:
      return "E_TRUNC";
    case Code::magic:
      return "E_MAGIC";
    case Code::version:
      return "E_VERSION";
    case Code::limit:
      return "E_LIMIT";
    case Code::overflow:
      return "E_OVERFLOW";
    case Code::bounds:
      return "E_BOUNDS";
    case Code::overlap:
      return "E_OVERLAP";
    case Code::hole:
      return "E_HOLE";
    case Code::duplicate:
      return "E_DUP";
    case Code::type:
      return "E_TYPE";
    case Code::value:
      return "E_VALUE";
    case Code::utf8:
      return "E_UTF8";
    case Code::json:
      return "E_JSON";
    case Code::depth:
      return "E_DEPTH";
    case Code::mismatch:
      return "E_MISMATCH";
    case Code::missing:
      return "E_MISSING";
    case Code::unsafe:
      return "E_UNSAFE";
    case Code::path:
      return "E_PATH";
    case Code::nonfinite:
      return "E_NONFINITE";
    case Code::budget:
      return "E_BUDGET";
    case Code::usage:
      return "E_USAGE";
    case Code::unsupported:
      return "E_UNSUPPORTED";
    case Code::io:
      return "E_IO";
    case Code::interrupted:
      return "E_INTERRUPTED";
    case Code::internal:
      return "E_INTERNAL";
  }
  return "E_INTERNAL";
}

Exit exit_for(Code code) {
  switch (code) {
    case Code::usage:
      return Exit::usage;
    case Code::io:
      return Exit::io;
    case Code::limit:
    case Code::budget:
      return Exit::limit;
    case Code::nonfinite:
      return Exit::numeric;
    case Code::interrupted:
      return Exit::interrupted;
    case Code::internal:
      return Exit::internal;
    default:
      return Exit::bad_input;
  }
}

Error::Error(Code code, std::string subject, std::string fact, std::string remedy,
             std::source_location where)
    : code_(code),
      subject_(std::move(subject)),
      fact_(std::move(fact)),
      remedy_(std::move(remedy)),
      where_(where) {
  compose();
}

Error& Error::note(std::string context) {
  notes_.push_back(std::move(context));
  compose();
  return *this;
}

Error& Error::set_subject(std::string subject) {
  subject_ = std::move(subject);
  compose();
  return *this;
}

void Error::compose() {
  what_ = "error[" + std::string(code_name(code_)) + "] ";
  if (!subject_.empty()) what_ += subject_ + ": ";
  for (auto it = notes_.rbegin(); it != notes_.rend(); ++it) what_ += *it + ": ";
  what_ += fact_;
  if (!remedy_.empty()) what_ += "; " + remedy_;
  std::replace(what_.begin(), what_.end(), '\n', ' ');
  what_ = printable(what_);  // subjects are paths, and paths may come out of a file
}

std::string Error::line() const { return what_; }

namespace {
std::string with_offset(std::string fact, std::optional<uint64_t> offset) {
  if (offset) fact += " (at byte " + std::to_string(*offset) + ")";
  return fact;
}
std::string io_fact(std::string_view operation, int error_number) {
  return std::string(operation) + ": " + std::strerror(error_number);
}
}  // namespace

FileError::FileError(Code code, std::string path, std::string fact, std::optional<uint64_t> offset,
                     std::string remedy, std::source_location where)
    : Error(code, std::move(path), with_offset(std::move(fact), offset), std::move(remedy), where) {
}
InputError::InputError(std::string subject, std::string fact, std::string remedy,
                       std::source_location where)
    : Error(Code::usage, std::move(subject), std::move(fact), std::move(remedy), where) {}
ShapeError::ShapeError(std::string subject, std::string fact, std::source_location where)
    : Error(Code::mismatch, std::move(subject), std::move(fact), {}, where) {}
UnsupportedError::UnsupportedError(std::string subject, std::string fact, std::string remedy,
                                   std::source_location where)
    : Error(Code::unsupported, std::move(subject), std::move(fact), std::move(remedy), where) {}
NumericError::NumericError(std::string subject, std::string fact, std::string remedy,
                           std::source_location where)
    : Error(Code::nonfinite, std::move(subject), std::move(fact), std::move(remedy), where) {}
IoError::IoError(std::string path, std::string_view operation, int error_number_in,
                 std::string remedy, std::source_location where)
    : Error(Code::io, std::move(path), io_fact(operation, error_number_in), std::move(remedy),
            where),
      error_number(error_number_in) {}

void check(bool condition, std::string_view what_went_wrong, std::source_location where) {
  if (condition) return;
  throw Error(Code::internal, std::string(where.file_name()) + ":" + std::to_string(where.line()),
              std::string(what_went_wrong), "this is a bug in halftone", where);
}

std::string printable(std::string_view text, bool keep_lines) {
  const bool utf8 = valid_utf8(text);
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    // U+0080 to U+009F are control characters too; in UTF-8 they begin with C2.
    const bool c1 = utf8 && c == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    const bool line = keep_lines && (c == '\n' || c == '\t');
    if (c1)
      escape(out, c), escape(out, static_cast<unsigned char>(text[++i]));
    else if (!line && (c < 0x20 || c == 0x7f || (c >= 0x80 && !utf8)))
      escape(out, c);
    else
      out += static_cast<char>(c);
  }
  return out;
}

std::string quote(std::string_view text, size_t max) {
  std::string out = "\"";
  const bool cut = text.size() > max;
  for (const char character : text.substr(0, max)) {
    const auto c = static_cast<unsigned char>(character);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20 || c >= 0x7f) {
      escape(out, c);
    } else {
      out += static_cast<char>(c);
    }
  }
  return out + (cut ? "...\"" : "\"");
}

std::optional<std::string> nearest_name(std::string_view word,
                                        const std::vector<std::string>& names) {
  std::optional<std::string> best;
  // Two letters of a word of three are another word: "awq" is no slip for "obq".
  size_t best_distance = (word.size() < 4 ? 1 : std::max<size_t>(2, word.size() / 3)) + 1;
  for (const std::string& name : names) {
    std::vector<size_t> row(name.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= word.size(); ++i) {
      size_t diagonal = row[0];
      row[0] = i;
      for (size_t j = 1; j <= name.size(); ++j) {
        const size_t substitute = diagonal + (word[i - 1] != name[j - 1] ? 1 : 0);
        diagonal = row[j];
        row[j] = std::min({substitute, row[j] + 1, row[j - 1] + 1});
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = name;
    }
  }
  return best;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& names,
                         const std::optional<std::string>& otherwise) {
  if (const auto near = nearest_name(word, names)) return "did you mean " + *near + "?";
  return otherwise ? *otherwise : "known: " + listed(names);
}

}  // namespace halftone
