// Data sets of items: one JSON object a line, rows of CSV, plain lines. Every item knows its file
// and line, so that whoever finds fault with one can name it.
//
// Errors: FileError naming FILE:LINE. E_JSON, E_UTF8, E_DUP for a line that is not a JSON object of
// its own; E_VALUE for CSV whose quotes do not close; E_MISSING and E_TYPE for a field.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "halftone/base/limits.h"

namespace halftone::files {

struct Document {
  Json fields;        // an object
  std::string where;  // "piqa/valid.jsonl:12"

  // A field that is text; a list of texts; a number, or digits as text ("1").
  std::string text(std::string_view field) const;
  std::vector<std::string> texts(std::string_view field) const;
  int64_t number(std::string_view field) const;
  bool has(std::string_view field) const { return fields.contains(field); }
  const Json& at(std::string_view field) const;  // E_MISSING names what the line has
};

struct CsvRow {
  std::vector<std::string> fields;
  std::string where;  // of its first line
};

// What a file holds, one item at least. Blank lines are passed over, and counted.
struct Documents {
  std::vector<Document> rows;
  int64_t blank_lines = 0;
};
struct CsvTable {
  std::vector<CsvRow> rows;
  int64_t blank_lines = 0;
};

// A text file whole: UTF-8, and no archive or pointer that stands in its place.
std::string read_text_of(Env& env, const std::string& path);
// Without line ends; the last one may lack its newline. Views into `text`.
std::vector<std::string_view> split_lines(std::string_view text);
bool blank(std::string_view line);

Documents read_jsonl(Env& env, const std::string& path, const Limits& limits = {});
// The same of a text at hand, which may hold nothing; `path` names it in errors.
Documents parse_jsonl(std::string_view text, const std::string& path, const Limits& limits = {});
// RFC 4180: quotes, doubled quotes, line breaks inside quotes, LF or CRLF.
CsvTable read_csv(Env& env, const std::string& path);

}  // namespace halftone::files
