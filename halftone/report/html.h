// Text and numbers as HTML. What comes from models, files and people is hostile: it never becomes
// markup, and characters that cannot be seen, or that turn the text around them, are shown by
// their code.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/json.h"

namespace halftone::report {

// For text and for attributes in quotes. Control, bidirectional and zero-width characters become
// "[U+202E]"; bytes that are no UTF-8 become U+FFFD; line breaks and tabs a space.
std::string escape_html(std::string_view text);

// JSON that may stand in a <script> element: no '<' in it.
std::string script_json(const Json& value);

// Lists of objects that begin with the same keys as {"columns": keys, "rows": [[value of each key]]},
// anywhere in `value`: the keys of some hundred linears would be a third of a page. unpacked() of
// web/src/numbers.js undoes it.
Json packed_lists(const Json& value);

// A number, or a dash.
std::string shown(const Json& value, int digits = 3);

// Figures of a page, each marked with its place in the page's JSON (data-path, a JSON pointer; data-scale,
// what the number there was multiplied by), so that a test can hold what is shown to what was
// measured. A dash where there is no number. `base` is what all paths begin with: it is left off
// them, and their table has it (data-base).
class Figures {
 public:
  explicit Figures(const Json& data, std::string base = {}) : data_(data), base_(std::move(base)) {}
  std::string significant(const std::string& path, double factor = 1, int digits = 3) const;
  std::string fixed(const std::string& path, int digits, double factor = 1) const;
  // " [low, high]" in small print; nothing where there is no interval or no width. `digits` < 0:
  // three significant ones.
  std::string interval(const std::string& path, int digits = -1, double factor = 1) const;

 private:
  std::string marked(const std::string& path, double factor, const std::string& text) const;
  const Json* at(const std::string& path) const;  // null where there is no number
  const Json& data_;
  std::string base_;
};

// A table in a box of its own that scrolls sideways. Cells are markup; the first of a row is its
// head. `what` names it for those who do not see it; `base`: that of its figures.
std::string html_table(const std::string& what, const std::vector<std::string>& head,
                       const std::vector<std::vector<std::string>>& rows,
                       const std::string& base = {});

// Where the script draws a chart over the tables; nothing without it. `attributes` go into the
// element: what is drawn is in the page's JSON.
std::string chart_place(const std::string& chart, const std::string& attributes = {});

// A section under its heading. `id` is its anchor.
std::string section(const std::string& id, const std::string& title, const std::string& body);
// The same, folded: one line says what is in it.
std::string folded_section(const std::string& id, const std::string& title,
                           const std::string& summary, const std::string& body);
std::string folded(const std::string& summary, const std::string& body, bool open = false);

}  // namespace halftone::report
