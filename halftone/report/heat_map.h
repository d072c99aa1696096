// Heat maps as one SVG picture that stands alone: in a page, in a file, in print. Every cell shows
// its number, so colour is never the only mark.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace halftone::report {

struct HeatMap {
  std::string title;
  std::vector<std::string> rows, columns;                  // their values
  std::vector<std::vector<std::optional<double>>> values;  // [rows][columns]; empty: a dash
};

struct HeatText {
  std::string row_title, column_title;
  std::string value_title;  // what a cell shows
  bool diverging = false;   // white at 0, the same strength of both signs
};

// Small multiples, three a row, on one colour scale that spans the values of all. All maps have the
// same rows and columns.
std::string heat_maps(const std::vector<HeatMap>& maps, const HeatText& text);

struct Curve {
  std::string name;
  std::vector<std::optional<double>> values;  // one for each x
};
// Values over ordinary places on x (the values of a grid, evenly spaced), a line a model with a
// mark of its own and a key below.
std::string curves(const std::vector<Curve>& lines, const std::vector<std::string>& x,
                   const std::string& x_title, const std::string& y_title);

}  // namespace halftone::report
