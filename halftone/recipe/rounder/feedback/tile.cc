#include "halftone/recipe/rounder/feedback/tile.h"

#include <algorithm>

#include "halftone/base/error.h"

namespace halftone::rounder {
namespace {
size_t at(int64_t i) { return static_cast<size_t>(i); }
}  // namespace

Groups make_groups(const format::Format& format, const Hessian& hessian, Order order,
                   bool static_groups) {
  const int64_t n = hessian.n;
  const bool grouped = format.granularity == format::Granularity::group;
  const bool by_column = !grouped || static_groups || order != Order::act_order;
  Groups out;
  out.fitted_before = !grouped || static_groups;
  out.run_of.resize(at(n));
  if (!by_column) out.column_group.resize(at(n));
  for (int64_t p = 0; p < n; ++p) {
    const int64_t column = hessian.order[at(p)];
    const int64_t group = !grouped ? 0 : (by_column ? column : p) / format.group;
    if (!by_column) out.column_group[at(column)] = static_cast<int32_t>(group);
    if (out.runs.empty() || out.runs.back().group != group) out.runs.push_back({p, p, group});
    out.runs.back().end = p + 1;
    out.run_of[at(p)] = static_cast<int32_t>(out.runs.size() - 1);
  }
  // A group in several pieces (an order made for another group width) has no moment at which it
  // could be fitted on the way.
  if (static_cast<int64_t>(out.runs.size()) > format.groups(n)) out.fitted_before = true;
  return out;
}

Tile::Tile(const Problem& problem, const Matrix<float>& weight, const Hessian& h, const Groups& g,
           const format::Codes& nearest, int64_t begin, int64_t end)
    : hessian(h),
      groups(g),
      n(h.n),
      rows(end - begin),
      w(at(n * rows)),
      problem_(problem),
      weight_(weight),
      nearest_(nearest),
      begin_(begin),
      codes_(at(n * rows)),
      grids_(groups.fitted_before ? 0 : groups.runs.size() * at(rows)),
      scale_(at(rows)),
      zero_(at(rows)),
      low_(at(rows)),
      high_(at(rows)) {
  for (int64_t r = 0; r < rows; ++r) {
    const auto from = weight_.row(begin_ + r);
    for (int64_t p = 0; p < n; ++p)
      w[at(p * rows + r)] = static_cast<double>(from[at(hessian.order[at(p)])]);
  }
}

format::Grid Tile::given_grid(int64_t p, int64_t r) const {
  const int64_t group = groups.runs[at(groups.run_of[at(p)])].group;
  return {.scale = nearest_.scale(begin_ + r, group),
          .zero = nearest_.zero(begin_ + r, group),
          .max_code = (1 << problem_.format.bits) - 1,
          .clamped = false};
}

void Tile::open_group(int64_t p, const double* from) {
  const int64_t index = groups.run_of[at(p)];
  const Groups::Run& run = groups.runs[at(index)];
  const auto& fit = format::kind_of(problem_.format).fit;
  std::vector<double> values(at(run.end - run.begin));
  for (int64_t r = 0; r < rows; ++r) {
    format::Grid grid;
    if (groups.fitted_before) {
      grid = given_grid(p, r);
    } else {
      for (size_t i = 0; i < values.size(); ++i)
        values[i] = from[static_cast<int64_t>(i) * rows + r];
      grid = grids_[at(index * rows + r)] = fit(values, problem_.format);
    }
    scale_[at(r)] = static_cast<double>(grid.scale);
    zero_[at(r)] = grid.zero;
    low_[at(r)] = -grid.zero;
    high_[at(r)] = grid.max_code - grid.zero;
  }
}

// The same arithmetic as Grid::code and Grid::value, a column at a time.
void Tile::round_column(int64_t p, const double* x, double* q) {
  uint8_t* codes = codes_.data() + p * rows;
  const double *scale = scale_.data(), *zero = zero_.data(), *low = low_.data(),
               *high = high_.data();
  for (int64_t r = 0; r < rows; ++r) {
    double steps = x[r] / scale[r];
    steps = steps > low[r] ? steps : low[r];
    steps = steps < high[r] ? steps : high[r];
    steps = format::round_half_even(steps);
    codes[r] = static_cast<uint8_t>(static_cast<int32_t>(steps + zero[r]));
    q[r] = static_cast<double>(static_cast<float>(scale[r] * steps));
  }
}

void Tile::store(format::Codes& out, int64_t& clamped) const {
  for (int64_t r = 0; r < rows; ++r) {
    uint8_t* row = out.codes.data() + (begin_ + r) * n;
    for (int64_t p = 0; p < n; ++p) row[hessian.order[at(p)]] = codes_[at(p * rows + r)];
    if (groups.fitted_before) continue;
    for (size_t i = 0; i < groups.runs.size(); ++i) {
      const format::Grid& grid = grids_[i * at(rows) + at(r)];
      out.set_grid(begin_ + r, groups.runs[i].group, grid);
      clamped += grid.clamped;
    }
  }
}

// D = Q - W of both side by side, so that H is read once.
Tile::Errors Tile::measure(bool own) const {
  const int64_t width = own ? 2 * rows : rows, shift = own ? rows : 0;
  std::vector<double> d(at(n * width));
  std::vector<float> values(at(n));
  for (int64_t r = 0; r < rows; ++r) {
    nearest_.dequantize_row(begin_ + r, values);
    const auto from = weight_.row(begin_ + r);
    for (int64_t p = 0; p < n; ++p) {
      const size_t k = at(hessian.order[at(p)]);
      const double weight = static_cast<double>(from[k]);
      if (own) d[at(p * width + r)] = w[at(p * rows + r)] - weight;
      d[at(p * width + shift + r)] = static_cast<double>(values[k]) - weight;
    }
  }
  std::vector<double> errors(at(width));
  hessian.quadratic(d.data(), width, errors);
  Errors out;
  for (int64_t r = 0; r < rows; ++r) {
    if (own) out.own += errors[at(r)];
    out.nearest += errors[at(shift + r)];
  }
  return out;
}

}  // namespace halftone::rounder
