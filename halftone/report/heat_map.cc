#include "halftone/report/heat_map.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "halftone/base/numbers.h"
#include "halftone/report/html.h"

namespace halftone::report {
namespace {

constexpr double kCell = 38, kRow = 22, kLeft = 58, kHead = 30, kFoot = 40, kGap = 24;
constexpr size_t kAcross = 3;
constexpr const char* kInk = "#1a1c1f";
constexpr const char* kQuiet = "#5b6168";

using Colour = std::array<double, 3>;
// Cividis (Nunez et al. 2018, PLoS ONE 13(7)): even to the eye, and to those who see no red.
constexpr Colour kSequential[] = {
    {0, 34, 78}, {65, 77, 107}, {124, 123, 120}, {188, 175, 111}, {254, 232, 56}};
constexpr Colour kDiverging[] = {
    {0, 114, 178}, {150, 196, 222}, {255, 255, 255}, {238, 176, 138}, {213, 94, 0}};
// Okabe-Ito.
constexpr const char* kLines[] = {"#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00"};

std::string fixed(double x, int digits = 1) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.*f", digits, x);
  return buffer;
}

// Short enough for a cell.
std::string cell_text(double x) {
  const double size = std::abs(x);
  if (size >= 99.95) return fixed(x, 0);
  return fixed(x, size >= 9.995 ? 1 : 2);
}

Colour colour_at(const Colour (&stops)[5], double t) {
  const double at = std::clamp(t, 0.0, 1.0) * 4;
  const auto i = std::min<size_t>(static_cast<size_t>(at), 3);
  Colour out{};
  for (size_t c = 0; c < 3; ++c)
    out[c] = stops[i][c] + (at - static_cast<double>(i)) * (stops[i + 1][c] - stops[i][c]);
  return out;
}

std::string text_at(double x, double y, const std::string& text, const char* anchor,
                    const char* fill, const std::string& more = "") {
  return "<text x=\"" + fixed(x) + "\" y=\"" + fixed(y) + "\" text-anchor=\"" + anchor +
         "\" fill=\"" + fill + "\"" + more + ">" + escape_html(text) + "</text>";
}

std::string open_svg(double width, double height, const std::string& label) {
  return "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " + fixed(width, 0) + " " +
         fixed(height, 0) +
         "\" style=\"font:12px system-ui,sans-serif;max-width:" + fixed(1.2 * width, 0) +
         "px\" role=\"img\" aria-label=\"" + escape_html(label) +
         "\"><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>";
}

struct Range {
  double low = INFINITY, high = -INFINITY;
  void take(const std::optional<double>& value) {
    if (!value) return;
    low = std::min(low, *value);
    high = std::max(high, *value);
  }
  double place(double value) const { return high > low ? (value - low) / (high - low) : 0.5; }
};

std::string one_map(const HeatMap& map, const HeatText& text, const Range& range, double x0,
                    double y0) {
  std::string out = text_at(x0 + kLeft, y0 + 14, map.title, "start", kInk, " font-weight=\"600\"");
  const double top = y0 + kHead;
  for (size_t r = 0; r < map.rows.size(); ++r) {
    const double y = top + kRow * static_cast<double>(r);
    out += text_at(x0 + kLeft - 6, y + 15, map.rows[r], "end", kQuiet);
    for (size_t c = 0; c < map.columns.size(); ++c) {
      const double x = x0 + kLeft + kCell * static_cast<double>(c);
      const auto& value = map.values[r][c];
      const Colour colour =
          !value ? Colour{255, 255, 255}
                 : colour_at(text.diverging ? kDiverging : kSequential, range.place(*value));
      const double light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2];
      out += "<rect x=\"" + fixed(x) + "\" y=\"" + fixed(y) + "\" width=\"" + fixed(kCell) +
             "\" height=\"" + fixed(kRow) + "\" style=\"fill:rgb(" + fixed(colour[0], 0) + "," +
             fixed(colour[1], 0) + "," + fixed(colour[2], 0) + ");stroke:#fff\"/>" +
             text_at(x + kCell / 2, y + 15, value ? cell_text(*value) : "-", "middle",
                     light < 130 ? "#fff" : kInk);
    }
  }
  const double below = top + kRow * static_cast<double>(map.rows.size());
  for (size_t c = 0; c < map.columns.size(); ++c)
    out += text_at(x0 + kLeft + kCell * (static_cast<double>(c) + 0.5), below + 15, map.columns[c],
                   "middle", kQuiet);
  out += text_at(x0 + kLeft + kCell * static_cast<double>(map.columns.size()) / 2, below + 31,
                 text.column_title, "middle", kQuiet);
  const double middle = (top + below) / 2;
  return out + text_at(x0 + 12, middle, text.row_title, "middle", kQuiet,
                       " transform=\"rotate(-90 " + fixed(x0 + 12) + " " + fixed(middle) + ")\"");
}

}  // namespace

std::string heat_maps(const std::vector<HeatMap>& maps, const HeatText& text) {
  Range range;
  std::string label =
      text.value_title + " by " + text.row_title + " and " + text.column_title + ". ";
  for (const HeatMap& map : maps) {
    Range own;
    for (const auto& row : map.values)
      for (const auto& value : row) own.take(value);
    if (own.low > own.high) continue;
    label += map.title + ": " + significant(own.low) + " to " + significant(own.high) + ". ";
    range.take(own.low);
    range.take(own.high);
  }
  if (text.diverging) {
    range.high = std::max(std::abs(range.low), std::abs(range.high));
    range.low = -range.high;
  }
  const size_t across = std::min(kAcross, maps.size());
  const double width = kLeft + kCell * static_cast<double>(maps.at(0).columns.size()) + kGap,
               height = kHead + kRow * static_cast<double>(maps[0].rows.size()) + kFoot + kGap / 2;
  const auto down = static_cast<double>((maps.size() + across - 1) / across);
  std::string out = open_svg(width * static_cast<double>(across), height * down + 20, label) +
                    text_at(kLeft, 15, text.value_title, "start", kQuiet);
  for (size_t i = 0; i < maps.size(); ++i)
    out += one_map(maps[i], text, range, width * static_cast<double>(i % across),
                   20 + height * static_cast<double>(i / across));
  return out + "</svg>\n";
}

std::string curves(const std::vector<Curve>& lines, const std::vector<std::string>& x,
                   const std::string& x_title, const std::string& y_title) {
  constexpr double kWide = 640, kHigh = 300, kSide = 64, kTop = 16, kBottom = 44;
  Range range;
  std::string label = y_title + " over " + x_title + ". ";
  for (const Curve& line : lines) {
    label += line.name + ":";
    for (const auto& value : line.values) {
      range.take(value);
      label += " " + (value ? significant(*value) : std::string("-"));
    }
    label += ". ";
  }
  const double key = 20 * static_cast<double>((lines.size() + 2) / 3) + 8;
  const auto at_x = [&](size_t i) {
    const auto steps = static_cast<double>(std::max<size_t>(x.size(), 2) - 1);
    return kSide + (kWide - kSide - 24) * static_cast<double>(i) / steps;
  };
  const auto at_y = [&](double v) {
    return kHigh - kBottom - (kHigh - kBottom - kTop) * range.place(v);
  };
  std::string out = open_svg(kWide, kHigh + key, label);
  for (int i = 0; i <= 4 && range.low <= range.high; ++i) {
    const double v = range.low + (range.high - range.low) * i / 4;
    out += "<path d=\"M" + fixed(kSide) + " " + fixed(at_y(v)) + "H" + fixed(kWide - 24) +
           "\" style=\"stroke:#d8dce0\"/>" +
           text_at(kSide - 6, at_y(v) + 4, significant(v), "end", kQuiet);
  }
  for (size_t i = 0; i < x.size(); ++i)
    out += text_at(at_x(i), kHigh - kBottom + 18, x[i], "middle", kQuiet);
  out += text_at((kSide + kWide) / 2, kHigh - 8, x_title, "middle", kQuiet);
  out += text_at(14, kHigh / 2, y_title, "middle", kQuiet,
                 " transform=\"rotate(-90 14 " + fixed(kHigh / 2) + ")\"");
  constexpr const char* kDashes[] = {"", "6 3", "2 3"};
  for (size_t i = 0; i < lines.size(); ++i) {
    std::string path, marks;
    const std::string colour = kLines[i % std::size(kLines)];
    for (size_t k = 0; k < lines[i].values.size(); ++k) {
      const auto& value = lines[i].values[k];
      if (!value) continue;
      const std::string place = fixed(at_x(k)) + " " + fixed(at_y(*value));
      path += (path.empty() ? "M" : "L") + place;
      marks += "<circle r=\"3\" cx=\"" + fixed(at_x(k)) + "\" cy=\"" + fixed(at_y(*value)) +
               "\" style=\"fill:" + colour + "\"/>";
    }
    const std::string style = "style=\"fill:none;stroke:" + colour +
                              ";stroke-dasharray:" + kDashes[i / std::size(kLines) % 3] + "\"/>";
    const double kx = kSide + 190 * static_cast<double>(i % 3),
                 ky = kHigh + 10 + 20 * static_cast<double>(i / 3);
    out += "<path d=\"" + path + "\" " + style + marks + "<path d=\"M" + fixed(kx) + " " +
           fixed(ky - 4) + "h24\" " + style + text_at(kx + 30, ky, lines[i].name, "start", kInk);
  }
  return out + "</svg>\n";
}

}  // namespace halftone::report
