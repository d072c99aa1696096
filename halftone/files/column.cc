#include "halftone/files/column.h"

#include <algorithm>

#include "halftone/base/error.h"
#include "halftone/files/documents.h"

namespace halftone::files {
namespace {

constexpr const char* kMend = "mend or remove the line";

std::string_view without_return(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::vector<std::string> split_tabs(std::string_view line) {
  std::vector<std::string> out;
  for (size_t begin = 0; begin <= line.size();) {
    const size_t end = std::min(line.find('\t', begin), line.size());
    out.emplace_back(line.substr(begin, end - begin));
    begin = end + 1;
  }
  return out;
}

// Of names, the place of the first one that is asked for.
size_t choose(const std::vector<std::string>& names, std::span<const std::string> fields,
              const std::string& where) {
  for (const std::string& field : fields) {
    const auto found = std::find(names.begin(), names.end(), field);
    if (found != names.end()) return static_cast<size_t>(found - names.begin());
  }
  const auto quoted = [](const std::string& name) { return quote(name, 40); };
  throw FileError(Code::missing, where, "has none of the fields " + listed(fields, quoted), {},
                  "it has " + listed(names, quoted) + "; name one of them");
}

std::string text_of(const Document& row, const std::string& field) {
  const Json& value = row.at(field);
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number() || value.is_boolean()) return value.dump();
  throw FileError(Code::type, row.where, "field " + quote(field) + " is neither text nor a number",
                  {}, kMend);
}

Cells of_jsonl(Env& env, const std::string& path, std::span<const std::string> fields,
               const Limits& limits) {
  const auto [rows, blank_lines] = read_jsonl(env, path, limits);
  std::vector<std::string> names;
  for (const auto& [name, value] : rows[0].fields.items()) names.push_back(name);
  const std::string& field = names[choose(names, fields, rows[0].where)];
  Cells out{.all = {}, .blank_lines = blank_lines};
  for (const Document& row : rows) out.all.push_back({text_of(row, field), row.where});
  return out;
}

std::vector<Cell> of_table(const std::vector<CsvRow>& rows, std::span<const std::string> fields) {
  const size_t column = choose(rows[0].fields, fields, rows[0].where);
  std::vector<Cell> out;
  for (const CsvRow& row : std::span(rows).subspan(1)) {
    if (row.fields.size() != rows[0].fields.size())
      throw FileError(Code::value, row.where,
                      "has " + std::to_string(row.fields.size()) + " columns, the first line " +
                          std::to_string(rows[0].fields.size()),
                      {}, kMend);
    out.push_back({row.fields[column], row.where});
  }
  return out;
}

}  // namespace

Cells read_column(Env& env, const std::string& path, std::span<const std::string> fields,
                  const Limits& limits) {
  Cells out;
  if (path.ends_with(".jsonl")) {
    out = of_jsonl(env, path, fields, limits);
  } else if (path.ends_with(".csv")) {
    const auto [rows, blank_lines] = read_csv(env, path);
    out = {of_table(rows, fields), blank_lines};
  } else {
    const std::string text = read_text_of(env, path);
    std::vector<CsvRow> table;
    for (const std::string_view line : split_lines(text)) {
      const std::string where =
          path + ":" + std::to_string(std::max(out.all.size(), table.size()) + 1);
      if (path.ends_with(".tsv"))
        table.push_back({split_tabs(without_return(line)), where});
      else
        out.all.push_back({std::string(without_return(line)), where});
    }
    if (!table.empty()) out.all = of_table(table, fields);
  }
  if (out.all.empty())
    throw FileError(Code::value, path, "holds no items", {}, "give a file with one item a line");
  return out;
}

}  // namespace halftone::files
