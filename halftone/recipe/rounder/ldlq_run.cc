// LDLQ: each weight is moved by what earlier errors ask of it, then rounded. Chee et al. 2023,
// arXiv:2307.13304, section 3, on our grids and with the first column first.
//     H + lambda I = (R'+I) D (R'+I)^T, R' strictly upper
//     q_j = grid(w_j + sum over k < j of (w_k - q_k) R'_kj)
// GPTQ gives the same codes; it pushes errors forward through the inverse factor U, this pulls them
// through R. No inverse is formed and no weight is ever updated, so the two share nothing but the
// grids.
#include <algorithm>

#include "halftone/linalg/linalg.h"
#include "halftone/recipe/rounder/feedback/tile.h"
#include "halftone/recipe/rounder/ldlq.h"
#include "halftone/recipe/rounder/shared/describe.h"

namespace halftone::rounder {
namespace {

constexpr int64_t kBlock = 128;

// pull [end - begin, rows] = R[0..begin, begin..end)^T * D[0..begin]
void pull_errors(const Tile& tile, const std::vector<double>& d, int64_t begin, int64_t end,
                 std::vector<double>& pull) {
  pull.assign(static_cast<size_t>((end - begin) * tile.rows), 0);
  if (begin == 0) return;
  linalg::gemm(true, false, end - begin, tile.rows, begin, 1,
               tile.hessian.matrix->data.data() + begin, tile.n, d.data(), tile.rows, 0,
               pull.data(), tile.rows);
}

// What GPTQ's updated weights of a group would be when its first column comes up: the best real
// numbers given the errors so far, all later columns being free. They are w + (D R_above)
// inverse(R_group).
std::vector<double> compensated_group(Tile& tile, const std::vector<double>& d, int64_t begin,
                                      int64_t end) {
  std::vector<double> out;
  pull_errors(tile, d, begin, end, out);
  linalg::solve_upper(true, end - begin, tile.rows,
                      tile.hessian.matrix->data.data() + begin * tile.n + begin, tile.n, out.data(),
                      tile.rows);
  for (int64_t i = 0; i < (end - begin) * tile.rows; ++i)
    out[static_cast<size_t>(i)] += tile.w[static_cast<size_t>(begin * tile.rows + i)];
  return out;
}

void round(Tile& tile) {
  const Groups& groups = tile.groups;
  const int64_t n = tile.n, rows = tile.rows;
  std::vector<double> d(tile.w.size()), pull;  // D = W - Q, filled as columns are rounded
  for (int64_t j1 = 0; j1 < n;) {
    const auto& run = groups.runs[static_cast<size_t>(groups.run_of[static_cast<size_t>(j1)])];
    const int64_t j2 = std::min({j1 + kBlock, n, groups.fitted_before ? n : run.end});
    pull_errors(tile, d, j1, j2, pull);
    for (int64_t j = j1; j < j2; ++j) {
      if (tile.starts_group(j)) {
        if (groups.fitted_before)
          tile.open_group(j, nullptr);
        else
          tile.open_group(j, compensated_group(tile, d, run.begin, run.end).data());
      }
      double* sum = pull.data() + (j - j1) * rows;
      for (int64_t k = j1; k < j; ++k) {
        const double feedback = tile.hessian.factor(k, j);
        const double* error = d.data() + k * rows;
        for (int64_t r = 0; r < rows; ++r) sum[r] += error[r] * feedback;
      }
      double* w = tile.column(j);
      double* error = d.data() + j * rows;
      const double diagonal = tile.hessian.factor(j, j);
      for (int64_t r = 0; r < rows; ++r) {
        error[r] = w[r];
        sum[r] = w[r] + sum[r] / diagonal;
      }
      tile.round_column(j, sum, w);
      double squares = 0;
      for (int64_t r = 0; r < rows; ++r) {
        error[r] -= w[r];
        const double miss = (sum[r] - w[r]) * diagonal;  // D_jj = R_jj^2
        squares += miss * miss;
      }
      tile.loss += squares;
    }
    j1 = j2;
  }
}

}  // namespace

Run ldlq_run() {
  return [](std::span<const Problem> problems, recipe::InputStatistics&& statistics,
            const Json& json, const Context& context) {
    const auto o = read_options<LdlqOptions>(json, "ldlq");
    const Settings settings{.order = o.act_order ? Order::act_order
                                     : o.reverse ? Order::reverse
                                                 : Order::natural,
                            .damping = o.damping,
                            .static_groups = o.static_groups,
                            .nearest_if_worse = o.nearest_if_worse};
    return round_tiles(problems, statistics, settings, round, context);
  };
}

}  // namespace halftone::rounder
