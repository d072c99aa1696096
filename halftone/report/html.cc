#include "halftone/report/html.h"

#include <cmath>
#include <cstdio>

#include "halftone/base/numbers.h"

namespace halftone::report {
namespace {

struct Character {
  uint32_t code = 0xfffd;
  size_t bytes = 1;
};

// The first character of `text`; U+FFFD for one byte that begins none.
Character first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const size_t bytes = lead >= 0xf0 && lead < 0xf5   ? 4
                       : lead >= 0xe0 && lead < 0xf0 ? 3
                       : lead >= 0xc2 && lead < 0xe0 ? 2
                                                     : 0;
  if (bytes == 0 || text.size() < bytes) return {};
  uint32_t code = lead & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0u) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3fu);
  }
  const bool too_long = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  if (too_long || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {code, bytes};
}

// Not seen, or turns what is around it.
bool unseen(uint32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0xad || c == 0x61c || c == 0x180e ||
         (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff9 && c <= 0xfffb) ||
         (c >= 0xe0000 && c <= 0xe007f);
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto [code, bytes] = first_character(text);
    if (code == '&')
      out += "&amp;";
    else if (code == '<')
      out += "&lt;";
    else if (code == '>')
      out += "&gt;";
    else if (code == '"')
      out += "&quot;";
    else if (code == '\'')
      out += "&#39;";
    else if (code == '\n' || code == '\r' || code == '\t')
      out += ' ';
    else if (unseen(code)) {
      char buffer[16];
      std::snprintf(buffer, sizeof(buffer), "[U+%04X]", code);
      out += buffer;
    } else if (code == 0xfffd)
      out += "\xef\xbf\xbd";
    else
      out += text.substr(0, bytes);
    text.remove_prefix(bytes);
  }
  return out;
}

std::string script_json(const Json& value) {
  std::string out;
  for (const char c : value.dump(-1, ' ', false, Json::error_handler_t::replace)) {
    if (c == '<')
      out += "\\u003c";
    else
      out += c;
  }
  return out;
}

Json packed_lists(const Json& value) {
  if (!value.is_structured()) return value;
  Json out = value;
  for (Json& part : out) part = packed_lists(part);
  constexpr size_t kFew = 4;
  if (!value.is_array() || value.size() < kFew) return out;
  std::vector<std::string> keys;  // of the object that has most
  for (const Json& row : value) {
    if (!row.is_object()) return out;
    size_t i = 0;
    for (const auto& [key, field] : row.items()) {
      if (i == keys.size()) keys.push_back(key);
      if (keys[i++] != key) return out;
    }
  }
  Json rows = Json::array();
  for (const Json& row : out) {
    Json& line = rows.emplace_back(Json::array());
    for (const Json& field : row) line.push_back(field);
  }
  return {{"columns", keys}, {"rows", std::move(rows)}};
}

std::string shown(const Json& value, int digits) {
  return value.is_number() ? significant(value.get<double>(), digits) : "&#8211;";
}

const Json* Figures::at(const std::string& path) const {
  const Json::json_pointer pointer(path);
  if (!data_.contains(pointer)) return nullptr;
  const Json& value = data_.at(pointer);
  return value.is_number() && std::isfinite(value.get<double>()) ? &value : nullptr;
}

std::string Figures::marked(const std::string& path, double factor, const std::string& text) const {
  return "<span data-path=\"" + path.substr(base_.size()) + "\"" +
         (factor == 1 ? "" : " data-scale=\"" + Json(factor).dump() + "\"") + ">" + text +
         "</span>";
}

std::string Figures::significant(const std::string& path, double factor, int digits) const {
  const Json* value = at(path);
  if (value == nullptr) return "&#8211;";
  return marked(path, factor, halftone::significant(factor * value->get<double>(), digits));
}

std::string Figures::fixed(const std::string& path, int digits, double factor) const {
  const Json* value = at(path);
  if (value == nullptr) return "&#8211;";
  return marked(path, factor, halftone::fixed(factor * value->get<double>(), digits));
}

std::string Figures::interval(const std::string& path, int digits, double factor) const {
  const Json *low = at(path + "/0"), *high = at(path + "/1");
  if (low == nullptr || high == nullptr || *low == *high) return {};
  const auto end = [&](const char* which) {
    return digits < 0 ? significant(path + which, factor) : fixed(path + which, digits, factor);
  };
  return " <span class=\"quiet\">[" + end("/0") + ", " + end("/1") + "]</span>";
}

std::string html_table(const std::string& what, const std::vector<std::string>& head,
                       const std::vector<std::vector<std::string>>& rows, const std::string& base) {
  std::string out = "<div class=\"scroll\" role=\"group\" tabindex=\"0\" aria-label=\"" + what +
                    "\"" + (base.empty() ? "" : " data-base=\"" + base + "\"") +
                    "><table><thead><tr>";
  for (const std::string& cell : head) out += "<th scope=\"col\">" + cell + "</th>";
  out += "</tr></thead><tbody>";
  for (const auto& row : rows) {
    out += "<tr>";
    for (size_t i = 0; i < row.size(); ++i)
      out += i == 0 ? "<th scope=\"row\">" + row[i] + "</th>" : "<td>" + row[i] + "</td>";
    out += "</tr>";
  }
  return out + "</tbody></table></div>";
}

std::string chart_place(const std::string& chart, const std::string& attributes) {
  return "<div class=\"chart\" data-chart=\"" + chart + "\"" +
         (attributes.empty() ? "" : " " + attributes) + " hidden></div>";
}

std::string section(const std::string& id, const std::string& title, const std::string& body) {
  return "<section id=\"" + id + "\" aria-labelledby=\"" + id + "-title\"><h2 id=\"" + id +
         "-title\">" + title + "</h2>" + body + "</section>";
}

std::string folded_section(const std::string& id, const std::string& title,
                           const std::string& summary, const std::string& body) {
  return section(id, title, folded(summary, body));
}

std::string folded(const std::string& summary, const std::string& body, bool open) {
  return std::string("<details") + (open ? " open" : "") + "><summary>" + summary + "</summary>" +
         body + "</details>";
}

}  // namespace halftone::report
