#include "halftone/files/documents.h"

#include <algorithm>
#include <charconv>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"
#include "halftone/files/recognise.h"

namespace halftone::files {
namespace {

constexpr uint64_t kMaxTextBytes = 4ull << 30;

// Text has no magic: refused is only what certainly stands in place of it.
void refuse_stand_ins(std::span<const std::byte> head, const std::string& path) {
  switch (recognise(head)) {
    case FileKind::lfs_pointer:
    case FileKind::gzip:
    case FileKind::zstd:
    case FileKind::xz:
    case FileKind::seven_zip:
    case FileKind::zip:
    case FileKind::gguf:
    case FileKind::safetensors:
      refuse_usual_mistakes(head, path, "text");
      return;
    default:
      return;
  }
}

std::string at_line(const std::string& path, int64_t line) {
  return path + ":" + std::to_string(line);
}

}  // namespace

std::string read_text_of(Env& env, const std::string& path) {
  std::string text = env.read_text(path, kMaxTextBytes);
  refuse_stand_ins(std::as_bytes(std::span(text.data(), std::min(text.size(), kRecogniseBytes))),
                   path);
  if (!valid_utf8(text)) {
    const auto lines = split_lines(text);
    const auto bad = std::find_if_not(lines.begin(), lines.end(), valid_utf8);
    throw FileError(Code::utf8, at_line(path, bad - lines.begin() + 1), "not valid UTF-8", {},
                    "save the file as UTF-8");
  }
  return text;
}

std::vector<std::string_view> split_lines(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    out.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return out;
}

bool blank(std::string_view line) {
  return std::all_of(line.begin(), line.end(),
                     [](char c) { return c == ' ' || c == '\t' || c == '\r'; });
}

const Json& Document::at(std::string_view field) const {
  const auto found = fields.find(field);
  if (found != fields.end()) return *found;
  std::vector<std::string> names;
  for (const auto& [name, value] : fields.items()) names.push_back(quote(name, 40));
  if (names.size() > 12) names.resize(12);
  throw FileError(Code::missing, where, "has no field " + quote(field), {},
                  names.empty() ? "mend or remove the line" : "it has " + listed(names));
}

std::string Document::text(std::string_view field) const {
  const Json& value = at(field);
  if (!value.is_string())
    throw FileError(Code::type, where, "field " + quote(field) + " is not text", {},
                    "mend or remove the line");
  return value.get<std::string>();
}

std::vector<std::string> Document::texts(std::string_view field) const {
  const Json& value = at(field);
  const auto is_text = [](const Json& v) { return v.is_string(); };
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_text))
    throw FileError(Code::type, where, "field " + quote(field) + " is not a list of texts", {},
                    "mend or remove the line");
  return value.get<std::vector<std::string>>();
}

int64_t Document::number(std::string_view field) const {
  const Json& value = at(field);
  if (value.is_number_integer()) return value.get<int64_t>();
  int64_t out = 0;
  if (value.is_string()) {
    const auto& digits = value.get_ref<const std::string&>();
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), out);
    if (error == std::errc() && end == digits.data() + digits.size()) return out;
  }
  throw FileError(Code::type, where, "field " + quote(field) + " is not a whole number", {},
                  "mend or remove the line");
}

Documents parse_jsonl(std::string_view text, const std::string& path, const Limits& limits) {
  Documents out;
  int64_t number = 0;
  for (const std::string_view line : split_lines(text)) {
    ++number;
    if (blank(line)) {
      ++out.blank_lines;
      continue;
    }
    const std::string where = at_line(path, number);
    Json row;
    try {
      row = parse_json(line, where, limits);
    } catch (const FileError& e) {
      throw FileError(e.code(), where, e.fact(), {}, "mend or remove the line");
    }
    if (!row.is_object())
      throw FileError(Code::type, where, "is not a JSON object", {},
                      "each line holds one item as {...}");
    out.rows.push_back({std::move(row), where});
  }
  return out;
}

Documents read_jsonl(Env& env, const std::string& path, const Limits& limits) {
  Documents out = parse_jsonl(read_text_of(env, path), path, limits);
  if (out.rows.empty())
    throw FileError(Code::value, path, "holds no items", {}, "write one as {...} a line");
  return out;
}

CsvTable read_csv(Env& env, const std::string& path) {
  const std::string text = read_text_of(env, path);
  CsvTable out;
  int64_t line = 1;
  for (size_t i = 0; i < text.size();) {
    CsvRow row{.fields = {}, .where = at_line(path, line)};
    for (bool more = true; more;) {
      std::string field;
      if (i < text.size() && text[i] == '"') {
        for (++i;; ++i) {
          if (i >= text.size())
            throw FileError(Code::value, row.where, "a quote is not closed", {},
                            "mend or remove the row");
          if (text[i] == '\n') ++line;
          if (text[i] == '"' && (i + 1 >= text.size() || text[i + 1] != '"')) break;
          if (text[i] == '"') ++i;
          field += text[i];
        }
        ++i;
      }
      for (; i < text.size() && text[i] != ',' && text[i] != '\n'; ++i) field += text[i];
      more = i < text.size() && text[i] == ',';
      if (!more && field.ends_with('\r')) field.pop_back();
      row.fields.push_back(std::move(field));
      if (more) ++i;
    }
    if (i < text.size()) ++i, ++line;  // the newline
    if (row.fields.size() > 1 || !blank(row.fields[0]))
      out.rows.push_back(std::move(row));
    else
      ++out.blank_lines;
  }
  if (out.rows.empty()) throw FileError(Code::value, path, "holds no rows", {}, "write one a line");
  return out;
}

}  // namespace halftone::files
