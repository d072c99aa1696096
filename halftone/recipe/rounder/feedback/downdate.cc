#include "halftone/recipe/rounder/feedback/downdate.h"

#include <vector>

namespace halftone::rounder {
namespace {
size_t at(int64_t i) { return static_cast<size_t>(i); }
}  // namespace

Matrix<double> invert_positive(Matrix<double> a) {
  const int64_t n = a.rows;
  for (int64_t p = 0; p < n; ++p) {
    const double pivot = a.at(p, p);
    const auto pivot_row = a.row(p);
    for (double& x : pivot_row) x /= pivot;
    pivot_row[at(p)] = 1 / pivot;
    for (int64_t i = 0; i < n; ++i) {
      if (i == p) continue;
      const auto row = a.row(i);
      const double factor = row[at(p)];
      row[at(p)] = 0;
      for (int64_t j = 0; j < n; ++j) row[at(j)] -= factor * pivot_row[at(j)];
    }
  }
  return a;
}

void remove_column(Matrix<double>& h_inverse, int64_t p) {
  const int64_t n = h_inverse.rows;
  const double pivot = h_inverse.at(p, p);
  const std::vector<double> row(h_inverse.row(p).begin(), h_inverse.row(p).end());
  for (int64_t i = 0; i < n; ++i) {
    const double factor = row[at(i)] / pivot;
    if (factor == 0) continue;
    const auto to = h_inverse.row(i);
    for (int64_t j = 0; j < n; ++j) to[at(j)] -= factor * row[at(j)];
  }
  for (int64_t i = 0; i < n; ++i) h_inverse.at(i, p) = h_inverse.at(p, i) = 0;
}

}  // namespace halftone::rounder
