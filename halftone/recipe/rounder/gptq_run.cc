// GPTQ: rounds column by column and pushes each error into the columns still to come.
// Frantar et al. 2022, arXiv:2210.17323, algorithm 1. Letters are the paper's: U is the upper
// Cholesky factor of the inverse Hessian, E the errors of a block of columns divided by U's
// diagonal.
#include <algorithm>

#include "halftone/linalg/linalg.h"
#include "halftone/recipe/rounder/feedback/tile.h"
#include "halftone/recipe/rounder/gptq.h"
#include "halftone/recipe/rounder/shared/describe.h"

namespace halftone::rounder {
namespace {

constexpr int64_t kStrip = 32;  // columns updated one by one before a matrix product takes over;
                                // has no influence on the meaning

// W[columns begin..end) -= E[errors of first..last) * U[first..last, begin..end); everything is
// stored with rows side by side.
void update(Tile& tile, const double* e, int64_t first, int64_t last, int64_t begin, int64_t end) {
  const double* u = tile.hessian.matrix->data.data() + first * tile.n + begin;
  linalg::gemm(true, false, end - begin, tile.rows, last - first, -1, u, tile.n, e, tile.rows, 1,
               tile.column(begin), tile.rows);
}

// Where the block that starts at `begin` ends. Fresh grids are fitted on weights that carry every
// update so far, so a group must not start in one block and end in another unless it is wider than
// a block: then it starts one.
int64_t block_end(const Groups& groups, int64_t begin, int64_t block, int64_t n, bool fresh) {
  const int64_t end = std::min(begin + block, n);
  if (!fresh || end == n) return end;
  const auto& run = groups.runs[static_cast<size_t>(groups.run_of[static_cast<size_t>(end)])];
  return run.begin > begin ? run.begin : end;
}

void round(Tile& tile, const GptqOptions& o) {
  const Groups& groups = tile.groups;
  const int64_t n = tile.n, rows = tile.rows;
  const bool fits = !groups.fitted_before;
  const int64_t block = std::min(o.block, n);
  std::vector<double> e(static_cast<size_t>(block * rows)), stale;
  for (int64_t i1 = 0; i1 < n;) {
    const int64_t i2 = block_end(groups, i1, block, n, fits && !o.stale_grids);
    if (fits && o.stale_grids) {  // W as this block found it, to the end of its last group
      const int64_t end =
          groups.runs[static_cast<size_t>(groups.run_of[static_cast<size_t>(i2 - 1)])].end;
      stale.assign(tile.column(i1), tile.column(i1) + (end - i1) * rows);
    }
    for (int64_t s1 = i1; s1 < i2;) {
      int64_t s2 = s1;
      for (; s2 < std::min(s1 + kStrip, i2); ++s2) {
        if (tile.starts_group(s2)) {
          if (s2 > s1 && fits) break;  // bring the whole group up to date first
          tile.open_group(s2, stale.empty() ? tile.column(s2) : stale.data() + (s2 - i1) * rows);
        }
        double* w = tile.column(s2);
        double* error = e.data() + (s2 - i1) * rows;
        const double diagonal = tile.hessian.factor(s2, s2);
        std::copy(w, w + rows, error);
        tile.round_column(s2, w, w);
        double squares = 0;
        for (int64_t r = 0; r < rows; ++r) {
          error[r] = (error[r] - w[r]) / diagonal;
          squares += error[r] * error[r];
        }
        tile.loss += squares;
        for (int64_t c = s2 + 1; c < std::min(s1 + kStrip, i2); ++c) {
          const double u = tile.hessian.factor(s2, c);
          double* other = tile.column(c);
          for (int64_t r = 0; r < rows; ++r) other[r] -= error[r] * u;
        }
      }
      const int64_t done = std::min(s1 + kStrip, i2);
      if (done < i2) update(tile, e.data() + (s1 - i1) * rows, s1, s2, done, i2);
      s1 = s2;
    }
    if (i2 < n) update(tile, e.data(), i1, i2, i2, n);
    i1 = i2;
  }
}

}  // namespace

Run gptq_run() {
  return [](std::span<const Problem> problems, recipe::InputStatistics&& statistics,
            const Json& json, const Context& context) {
    const auto o = read_options<GptqOptions>(json, "gptq");
    const Settings settings{.order = o.act_order         ? Order::act_order
                                     : o.act_group_aware ? Order::group_aware
                                                         : Order::natural,
                            .damping = o.damping,
                            .static_groups = o.static_groups,
                            .nearest_if_worse = o.nearest_if_worse,
                            .refit_above = o.refit_above,
                            .invert = true};
    return round_tiles(
        problems, statistics, settings, [&](Tile& tile) { round(tile, o); }, context);
  };
}

}  // namespace halftone::rounder
