// Charts as SVG text. Colour is never the only mark; every chart says in words what it shows.
#pragma once

#include <string>
#include <vector>

namespace halftone::report {

struct ChartPoint {
  std::string name;
  double x = 0, y = 0, y_low = 0, y_high = 0;
};
struct ScatterText {
  std::string x_title, y_title;
  double reference_x = 0;  // a vertical line, 0: none
  std::string reference_name;
};
// Log-log scatter with interval bars, the Pareto step line, and each point's name beside it. Points
// with x or y not above 0 are drawn on the lower edge.
std::string scatter(const std::vector<ChartPoint>& points, const ScatterText& text);

}  // namespace halftone::report
