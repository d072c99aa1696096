// A tile of weight rows on its way through a rounder that compensates. Rows never influence each
// other, so tiles run in parallel; within one, columns come in processing order and the rows of a
// column lie side by side, which is what vectorises.
//
// An algorithm (gptq_run.cc, ldlq_run.cc) is a function on a tile: it goes through columns p = 0 ..
// n-1, opens each group at its first column and rounds:
//     for each p: if (tile.starts_group(p)) tile.open_group(p, weights to fit the grids on);
//                 tile.round_column(p, weights, q);        // codes kept, values returned
// and leaves the values Q in `w`.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/recipe/rounder.h"
#include "halftone/recipe/rounder/feedback/hessian.h"

namespace halftone::rounder {

// Columns that share a grid, as runs of the processing order.
struct Groups {
  struct Run {
    int64_t begin, end;  // positions
    int64_t group;       // index into scales
  };
  std::vector<Run> runs;
  std::vector<int32_t> run_of;  // [n] by position
  // grids come from the original weights: tensor, row, static groups, groups in pieces
  bool fitted_before = false;
  std::vector<int32_t> column_group;  // scattered groups: by original column; else empty
};
// Under act_order dynamic groups are formed along the processing order, so they are scattered; all
// others along the columns.
Groups make_groups(const format::Format& format, const Hessian& hessian, Order order,
                   bool static_groups);

class Tile {
 public:
  Tile(const Problem& problem, const Matrix<float>& weight, const Hessian& hessian,
       const Groups& groups, const format::Codes& nearest, int64_t begin, int64_t end);

  const Hessian& hessian;
  const Groups& groups;
  const int64_t n, rows;
  std::vector<double> w;  // [n, rows]; the weights at first, Q in the end
  double loss = 0;  // the algorithm's own account: sum of (w - q)^2 / Hinv_jj over the weights
  double* column(int64_t p) { return w.data() + p * rows; }

  bool starts_group(int64_t p) const {
    return groups.runs[static_cast<size_t>(groups.run_of[static_cast<size_t>(p)])].begin == p;
  }
  // Makes the grids of the group that starts at p current. Where they are not given beforehand they
  // are fitted on `from` [group size, rows], compensated weights.
  void open_group(int64_t p, const double* from);
  // Rounds column p: q[r] = nearest value to x[r] on the current grids. `x` and `q` may be the
  // same.
  void round_column(int64_t p, const double* x, double* q);

  // For algorithms that go through each row in its own order, where groups are fitted before: the
  // grid of a weight, and its code.
  format::Grid given_grid(int64_t p, int64_t r) const;
  void set_code(int64_t p, int64_t r, int32_t code) {
    codes_[static_cast<size_t>(p * rows + r)] = static_cast<uint8_t>(code);
  }

  // For the frame below: codes, and grids fitted on the way, into the result.
  void store(format::Codes& out, int64_t& clamped) const;
  // The errors of Q and of nearest rounding, summed over the tile's rows.
  struct Errors {
    double own = 0, nearest = 0;
  };
  Errors measure(bool own) const;

 private:
  const Problem& problem_;
  const Matrix<float>& weight_;
  const format::Codes& nearest_;
  const int64_t begin_;
  std::vector<uint8_t> codes_;                     // [n, rows]
  std::vector<format::Grid> grids_;                // [runs, rows], where they are fitted on the way
  std::vector<double> scale_, zero_, low_, high_;  // [rows], of the current group
};

struct Settings {
  Order order = Order::natural;
  double damping = 0.01;
  bool static_groups = false;  // or an algorithm that cannot fit grids on the way
  bool nearest_if_worse = true;
  // Where the error is above this share of nearest's: once more with groups in their place, largest
  // inputs first inside each and group by group, their grids fitted on the way. The better of the
  // two is kept. 0: never.
  double refit_above = 0;
  bool invert = false;  // the algorithm reads U, else R
};

// Everything around the algorithm: conditions H, spreads tiles over the pool, measures, falls back.
// One result per problem.
std::vector<Result> round_tiles(std::span<const Problem> problems,
                                const recipe::InputStatistics& statistics, const Settings& settings,
                                const std::function<void(Tile& tile)>& algorithm,
                                const Context& context);

}  // namespace halftone::rounder
