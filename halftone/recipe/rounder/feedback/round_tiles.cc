#include <algorithm>
#include <map>
#include <string>

#include "halftone/base/error.h"
#include "halftone/recipe/rounder/feedback/tile.h"
#include "halftone/recipe/rounder/shared/problem.h"

namespace halftone::rounder {
namespace {

// Rows of a tile: depends on the layer's shape alone, so that the sums do. Wide enough for the
// matrix kernels, and enough tiles for a few threads.
int64_t tile_rows(int64_t rows) { return rows >= 1024 ? 128 : rows >= 256 ? 96 : 64; }

// One problem with what its tiles share and what they report.
struct Work {
  const Problem* problem;
  Matrix<float> copy;  // only when dead columns had to become 0
  const Matrix<float>* weight;
  Groups groups;
  format::Codes nearest;
  int64_t nearest_clamped = 0;
  Result result;
};

void zero_dead_columns(Work& work, const Hessian& hessian) {
  if (hessian.dead_columns == 0) return;
  work.copy = *work.problem->weight;
  work.weight = &work.copy;
  for (int64_t n = 0; n < work.copy.rows; ++n)
    for (int64_t k = 0; k < work.copy.cols; ++k)
      if (hessian.dead[static_cast<size_t>(k)] != 0) work.copy.at(n, k) = 0;
}

void use_nearest(Work& work, std::string why) {
  work.result.fallback = std::move(why);
  work.result.refitted = false;
  work.result.codes = std::move(work.nearest);
  work.result.error = work.result.nearest_error;
  work.result.clamped_scales = work.nearest_clamped;
}

// One pass of the algorithm over all rows of these problems, with the factor the Hessian holds now;
// without one (`usable` false) only nearest is measured. A problem keeps what it had where the pass
// leaves it no better.
void round_works(std::span<Work* const> works, const Hessian& hessian, bool usable,
                 const std::function<void(Tile& tile)>& algorithm, ThreadPool& pool,
                 const Context& context) {
  struct Part {
    size_t work;
    int64_t begin, end;
    Tile::Errors errors;
    double loss = 0;
    int64_t clamped = 0;
  };
  std::vector<Part> parts;
  std::vector<format::Codes> codes;
  for (size_t i = 0; i < works.size(); ++i) {
    const Work& work = *works[i];
    const int64_t rows = work.weight->rows, size = tile_rows(rows);
    codes.push_back(format::Codes::empty(work.problem->format, rows, hessian.n));
    codes.back().column_group = work.groups.column_group;
    if (work.groups.fitted_before) {
      codes.back().scales = work.nearest.scales;
      codes.back().zeros = work.nearest.zeros;
    }
    for (int64_t begin = 0; begin < rows; begin += size)
      parts.push_back(
          {.work = i, .begin = begin, .end = std::min(rows, begin + size), .errors = {}});
  }
  pool.each(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    context.throw_if_stopped();
    Part& part = parts[static_cast<size_t>(i)];
    const Work& work = *works[part.work];
    Tile tile(*work.problem, *work.weight, hessian, work.groups, work.nearest, part.begin,
              part.end);
    if (usable) {
      algorithm(tile);
      part.loss = tile.loss;
      tile.store(codes[part.work], part.clamped);
    }
    part.errors = tile.measure(usable);
  });
  for (size_t i = 0; i < works.size(); ++i) {
    Work& work = *works[i];
    Result result;
    result.dead_columns = hessian.dead_columns;
    result.diagonal_hessian = hessian.uncorrelated;
    result.damping = hessian.damping;
    // Grids fitted beforehand are those of nearest.
    result.clamped_scales = work.groups.fitted_before ? work.nearest_clamped : 0;
    for (const Part& part : parts) {  // in the order of the rows, so that sums are the same
      if (part.work != i) continue;
      result.error += part.errors.own;
      result.nearest_error += part.errors.nearest;
      result.damped_loss += part.loss;
      if (!work.groups.fitted_before) result.clamped_scales += part.clamped;
    }
    result.codes = std::move(codes[i]);
    result.refitted = !work.result.codes.codes.empty();
    if (!result.refitted || result.error < work.result.error) work.result = std::move(result);
  }
}

}  // namespace

std::vector<Result> round_tiles(std::span<const Problem> problems,
                                const recipe::InputStatistics& statistics, const Settings& settings,
                                const std::function<void(Tile& tile)>& algorithm,
                                const Context& context) {
  check(!problems.empty(), "no problem to round");
  Threads threads(context);
  ThreadPool& pool = threads.pool();
  for (const Problem& problem : problems) {
    check(statistics.hessian != nullptr && problem.weight->cols == statistics.hessian->rows,
          "the Hessian is not of this layer's input");
    check_finite(problem, pool);
  }
  // Linears of one input share the order; the group width that matters to it is that of the first
  // with groups.
  int64_t group = 0;
  for (const Problem& problem : problems)
    if (group == 0 && problem.format.granularity == format::Granularity::group)
      group = problem.format.group;
  const Order order =
      settings.order == Order::group_aware && group == 0 ? Order::act_order : settings.order;
  Hessian hessian =
      prepare_hessian(statistics, order, group, settings.damping, problems[0].name, pool);

  const bool usable = hessian.failure.empty();
  const bool measurable = hessian.dead_columns < hessian.n;
  std::vector<Work> works(problems.size());
  for (size_t i = 0; i < problems.size(); ++i) {
    Work& work = works[i];
    work.problem = &problems[i];
    work.weight = problems[i].weight;
    work.result.dead_columns = hessian.dead_columns;
    if (usable) zero_dead_columns(work, hessian);  // else nothing was learnt about them either
    work.nearest =
        format::quantize_nearest(*work.weight, work.problem->format, &pool, &work.nearest_clamped);
    if (measurable)
      work.groups = make_groups(work.problem->format, hessian, order, settings.static_groups);
  }
  if (measurable) {
    std::vector<Work*> all;
    for (Work& work : works) all.push_back(&work);
    if (usable && settings.invert) invert(hessian, pool);
    round_works(all, hessian, usable, algorithm, pool, context);
  }

  std::map<int64_t, std::vector<Work*>> poor;  // by the width of their groups
  for (Work& work : works)
    if (usable && settings.refit_above > 0 &&
        work.problem->format.granularity == format::Granularity::group &&
        work.result.error > settings.refit_above * work.result.nearest_error)
      poor[work.problem->format.group].push_back(&work);
  for (const auto& [width, same] : poor) {
    hessian.arrange(Order::group_aware, width, pool);
    if (!hessian.factor_with(hessian.damping, pool)) break;
    if (settings.invert) invert(hessian, pool);
    for (Work* work : same)
      work->groups = make_groups(work->problem->format, hessian, Order::group_aware, false);
    round_works(same, hessian, usable, algorithm, pool, context);
  }

  std::vector<Result> results;
  for (Work& work : works) {
    Result& result = work.result;
    if (!usable)
      use_nearest(work, hessian.failure);
    else if (settings.nearest_if_worse && result.error > result.nearest_error)
      use_nearest(work, "nearest has the smaller error");
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace halftone::rounder
