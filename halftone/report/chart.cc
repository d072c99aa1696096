#include "halftone/report/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "halftone/report/comparison.h"

namespace halftone::report {
namespace {

constexpr double kWidth = 960, kHeight = 420, kLeft = 76, kRight = 24, kTop = 20, kBottom = 52;
// Okabe-Ito, the five that stand out on white and on near-black alike; shapes repeat the
// distinction.
constexpr const char* kColours[] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7"};

std::string coordinate(double x) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%.1f", x);
  return buffer;
}

std::string tick_label(double x) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%g", x);
  return buffer;
}

struct LogScale {
  double low, high, from, to;
  double operator()(double x) const {
    const double t = (std::log10(std::clamp(x, low, high)) - std::log10(low)) /
                     (std::log10(high) - std::log10(low));
    return from + t * (to - from);
  }
  std::vector<double> ticks() const {
    std::vector<double> out;
    const bool narrow = high / low < 30;
    for (int p = static_cast<int>(std::floor(std::log10(low)));
         p <= static_cast<int>(std::ceil(std::log10(high))); ++p)
      for (double m : {1.0, 2.0, 5.0}) {
        const double x = m * std::pow(10.0, p);
        if (x >= low && x <= high && (narrow || m == 1.0)) out.push_back(x);
      }
    return out;
  }
};

LogScale scale_of(std::vector<double> values, double from, double to) {
  std::erase_if(values, [](double v) { return !(v > 0); });
  if (values.empty()) values = {1};
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {*low / 1.4, *high * 1.4, from, to};
}

std::string marker(size_t kind, double x, double y, const char* colour) {
  const std::string fill = std::string("\" fill=\"") + colour + "\"/>";
  if (kind % 3 == 0)
    return "<circle r=\"6\" cx=\"" + coordinate(x) + "\" cy=\"" + coordinate(y) + fill;
  if (kind % 3 == 1)
    return "<rect width=\"11\" height=\"11\" x=\"" + coordinate(x - 5.5) + "\" y=\"" +
           coordinate(y - 5.5) + fill;
  return "<path d=\"M" + coordinate(x) + " " + coordinate(y - 7) + "l7 12h-14z" + fill;
}

}  // namespace

std::string scatter(const std::vector<ChartPoint>& points, const ScatterText& text) {
  std::vector<double> xs, ys;
  for (const ChartPoint& p : points) {
    xs.push_back(p.x);
    for (double y : {p.y, p.y_low, p.y_high}) ys.push_back(y);
  }
  if (text.reference_x > 0) xs.push_back(text.reference_x);
  const LogScale sx = scale_of(xs, kLeft, kWidth - kRight),
                 sy = scale_of(ys, kHeight - kBottom, kTop);

  std::string described;
  for (const ChartPoint& p : points)
    described += p.name + ": " + tick_label(p.x) + " MB, " + tick_label(p.y) + ". ";
  std::string svg = "<svg viewBox=\"0 0 960 420\" role=\"img\" aria-label=\"" +
                    escape_html(text.y_title + " against " + text.x_title + ". " + described) +
                    "\">";
  for (double t : sx.ticks())
    svg += "<line class=\"axis\" x1=\"" + coordinate(sx(t)) + "\" x2=\"" + coordinate(sx(t)) +
           "\" y1=\"" + coordinate(kTop) + "\" y2=\"" + coordinate(kHeight - kBottom) +
           "\"/><text class=\"soft\" text-anchor=\"middle\" x=\"" + coordinate(sx(t)) + "\" y=\"" +
           coordinate(kHeight - kBottom + 18) + "\">" + tick_label(t) + "</text>";
  for (double t : sy.ticks())
    svg += "<line class=\"axis\" x1=\"" + coordinate(kLeft) + "\" x2=\"" +
           coordinate(kWidth - kRight) + "\" y1=\"" + coordinate(sy(t)) + "\" y2=\"" +
           coordinate(sy(t)) + "\"/><text class=\"soft\" text-anchor=\"end\" x=\"" +
           coordinate(kLeft - 8) + "\" y=\"" + coordinate(sy(t) + 4) + "\">" + tick_label(t) +
           "</text>";
  svg += "<text class=\"soft\" text-anchor=\"middle\" x=\"" + coordinate((kLeft + kWidth) / 2) +
         "\" y=\"" + coordinate(kHeight - 8) + "\">" + escape_html(text.x_title) + "</text>";
  svg += "<text class=\"soft\" text-anchor=\"middle\" transform=\"translate(18 " +
         coordinate(kHeight / 2) + ") rotate(-90)\">" + escape_html(text.y_title) + "</text>";
  if (text.reference_x > 0)
    svg += "<line stroke=\"currentColor\" stroke-dasharray=\"4 4\" x1=\"" +
           coordinate(sx(text.reference_x)) + "\" x2=\"" + coordinate(sx(text.reference_x)) +
           "\" y1=\"" + coordinate(kTop) + "\" y2=\"" + coordinate(kHeight - kBottom) +
           "\"/><text class=\"soft\" text-anchor=\"end\" x=\"" +
           coordinate(sx(text.reference_x) - 6) + "\" y=\"" + coordinate(kTop + 12) + "\">" +
           escape_html(text.reference_name) + "</text>";

  // The step line of candidates that nothing smaller beats.
  std::vector<ChartPoint> sorted = points;
  std::sort(sorted.begin(), sorted.end(), [](const ChartPoint& a, const ChartPoint& b) {
    return a.x < b.x || (a.x == b.x && a.y < b.y);
  });
  std::string path;
  double best = INFINITY;
  for (const ChartPoint& p : sorted) {
    if (p.y >= best) continue;
    path += path.empty() ? "M" + coordinate(sx(p.x)) + " " + coordinate(sy(p.y))
                         : "H" + coordinate(sx(p.x)) + "V" + coordinate(sy(p.y));
    best = p.y;
  }
  svg += "<path fill=\"none\" stroke=\"currentColor\" opacity=\"0.4\" d=\"" + path + "\"/>";

  std::vector<std::pair<double, double>> labels;  // places taken
  for (size_t i = 0; i < points.size(); ++i) {
    const ChartPoint& p = points[i];
    const char* colour = kColours[i % 4];
    const double x = sx(p.x), y = sy(p.y);
    svg += "<line stroke-width=\"2\" stroke=\"" + std::string(colour) + "\" x1=\"" + coordinate(x) +
           "\" x2=\"" + coordinate(x) + "\" y1=\"" + coordinate(sy(p.y_low)) + "\" y2=\"" +
           coordinate(sy(p.y_high)) + "\"/>" + marker(i, x, y, colour);
    const bool right = x < kWidth * 0.75;
    const double lx = x + (right ? 10 : -10), ly = y - 8;  // above the steps' line
    // A name that would collide is left to the table.
    const bool collides = std::any_of(labels.begin(), labels.end(), [&](const auto& other) {
      return std::abs(other.second - ly) < 14 && std::abs(other.first - lx) < 160;
    });
    if (collides) continue;
    labels.emplace_back(lx, ly);
    svg += "<text text-anchor=\"" + std::string(right ? "start" : "end") + "\" x=\"" +
           coordinate(lx) + "\" y=\"" + coordinate(ly) + "\">" + escape_html(p.name) + "</text>";
  }
  return svg + "</svg>";
}

}  // namespace halftone::report
