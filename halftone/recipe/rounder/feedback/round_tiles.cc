#include <algorithm>
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
  std::vector<double> errors, nearest_errors, losses;  // per tile
  std::vector<int64_t> clamped;
};

void zero_dead_columns(Work& work, const Hessian& hessian) {
  if (hessian.dead_columns == 0) return;
  work.copy = *work.problem->weight;
  work.weight = &work.copy;
  for (int64_t n = 0; n < work.copy.rows; ++n)
    for (int64_t k = 0; k < work.copy.cols; ++k)
      if (hessian.dead[static_cast<size_t>(k)] != 0) work.copy.at(n, k) = 0;
}

double sum(const std::vector<double>& values) {
  double total = 0;
  for (const double value : values) total += value;
  return total;
}

void use_nearest(Work& work, std::string why) {
  work.result.fallback = std::move(why);
  work.result.codes = std::move(work.nearest);
  work.result.error = work.result.nearest_error;
  work.result.clamped_scales = work.nearest_clamped;
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
  struct Part {
    Work* work;
    int64_t index, begin, end;
  };
  std::vector<Part> parts;
  for (size_t i = 0; i < problems.size(); ++i) {
    Work& work = works[i];
    work.problem = &problems[i];
    work.weight = problems[i].weight;
    work.result.damping = hessian.damping;
    work.result.dead_columns = hessian.dead_columns;
    work.result.diagonal_hessian = hessian.uncorrelated;
    if (usable) zero_dead_columns(work, hessian);  // else nothing was learnt about them either
    work.nearest =
        format::quantize_nearest(*work.weight, work.problem->format, &pool, &work.nearest_clamped);
    if (!measurable) continue;
    work.groups = make_groups(work.problem->format, hessian, order, settings.static_groups);
    const int64_t rows = work.weight->rows, size = tile_rows(rows),
                  count = (rows + size - 1) / size;
    work.errors.resize(static_cast<size_t>(count));
    work.nearest_errors.resize(static_cast<size_t>(count));
    work.losses.resize(static_cast<size_t>(count));
    work.clamped.resize(static_cast<size_t>(count));
    work.result.codes = format::Codes::empty(work.problem->format, rows, hessian.n);
    work.result.codes.column_group = work.groups.column_group;
    work.result.clamped_scales = work.nearest_clamped;
    if (work.groups.fitted_before) {
      work.result.codes.scales = work.nearest.scales;
      work.result.codes.zeros = work.nearest.zeros;
    }
    for (int64_t t = 0; t < count; ++t)
      parts.push_back({&work, t, t * size, std::min(rows, (t + 1) * size)});
  }

  if (usable && settings.invert) invert(hessian, pool);
  pool.each(static_cast<int64_t>(parts.size()), [&](int64_t i) {
    context.throw_if_stopped();
    const Part& part = parts[static_cast<size_t>(i)];
    Work& work = *part.work;
    const auto t = static_cast<size_t>(part.index);
    Tile tile(*work.problem, *work.weight, hessian, work.groups, work.nearest, part.begin,
              part.end);
    if (usable) {
      algorithm(tile);
      work.losses[t] = tile.loss;
      tile.store(work.result.codes, work.clamped[t]);
    }
    const Tile::Errors errors = tile.measure(usable);
    work.errors[t] = errors.own;
    work.nearest_errors[t] = errors.nearest;
  });

  std::vector<Result> results;
  for (Work& work : works) {
    Result& result = work.result;
    result.error = sum(work.errors);
    result.nearest_error = sum(work.nearest_errors);
    result.damped_loss = sum(work.losses);
    if (!work.groups.fitted_before) {  // else the grids are those of nearest, counted there
      result.clamped_scales = 0;
      for (const int64_t count : work.clamped) result.clamped_scales += count;
    }
    if (!usable)
      use_nearest(work, hessian.failure);
    else if (settings.nearest_if_worse && result.error > result.nearest_error)
      use_nearest(work, "nearest has the smaller error");
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace halftone::rounder
