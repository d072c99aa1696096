// Nearest rounding on searched grids: for every scale, the one that loses least is kept. Known as
// optimized RTN (intel/auto-round with no iterations, llama.cpp's importance-weighted
// quantization). No calibration is needed; with `importance: input` columns count by how large
// their inputs are on average, which is the diagonal of GPTQ's Hessian.
//
// Scales are tried as fractions 1/f of the min-max one, f in even steps; each candidate is scored
// by sum over the run of importance * (Q - w)^2. The winner is refitted by least squares for its
// codes. The starting grid is a candidate, so the result is never worse than nearest in this
// measure. (The search of the GPTQ scripts, by |Q - w|^2.4, is `clip_search` of the format, for any
// rounder.)
#include <algorithm>
#include <cmath>
#include <limits>

#include "halftone/recipe/rounder/shared/describe.h"
#include "halftone/recipe/rounder/shared/problem.h"

namespace halftone::rounder {
namespace {

using format::Grid;

struct Options {
  int64_t steps = 80, refine = 3;
  double widest = 1.1, narrowest = 0.4;
  std::string importance = "none";
};

void fields(auto& visit, Options& o) {
  visit("steps", o.steps, "scales tried, evenly in the inverse scale");
  visit("widest", o.widest, "largest scale tried, as a fraction of the min-max one");
  visit("narrowest", o.narrowest, "smallest scale tried, as a fraction of the min-max one");
  visit("refine", o.refine, "rounds of least squares that follow, at most");
  visit("importance", o.importance,
        "none, or input: columns count by their mean square input (needs calibration)");
}

void validate(const Options& o, const std::string& subject) {
  if (o.steps < 1 || o.steps > 10000)
    throw InputError(subject, "steps is " + std::to_string(o.steps), "80 is usual, 10000 the most");
  if (o.refine < 0 || o.refine > 100)
    throw InputError(subject, "refine is " + std::to_string(o.refine), "3 is usual, 100 the most");
  if (!(o.narrowest > 0 && o.narrowest <= o.widest && o.widest <= 4))
    throw InputError(subject,
                     "narrowest " + std::to_string(o.narrowest) + " and widest " +
                         std::to_string(o.widest) + " span no range of scales",
                     "0.4 and 1.1 are usual");
  if (o.importance != "none" && o.importance != "input")
    throw InputError(subject, "importance is " + quote(o.importance), "known: none, input");
}

constexpr size_t kLanes = 16;

// One run of weights in units of its largest, padded with zeros to whole lanes (importance 0
// there).
struct Scaled {
  double unit = 1;
  std::vector<float> w, importance;
};

// sum importance * (Q - w)^2 in f32; gives up once it cannot come out below `limit`.
float rough_loss(const Scaled& run, float scale, float low, float high, float limit) {
  constexpr float kMagic = 0x1.8p23f;  // rounds half to even
  float sums[kLanes] = {};
  const float *w = run.w.data(), *importance = run.importance.data();
  for (size_t i = 0; i < run.w.size(); i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      float x = w[i + l] / scale;
      x = x > low ? x : low;
      x = x < high ? x : high;
      const float d = ((x + kMagic) - kMagic) * scale - w[i + l];
      sums[l] += importance[i + l] * d * d;
    }
    if (i % (4 * kLanes) != 3 * kLanes) continue;
    float total = 0;
    for (const float sum : sums) total += sum;
    if (total >= limit) return limit;
  }
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

// Importance of the weights of a run: column k of the matrix has importance[k]; empty = 1.
struct Importance {
  std::span<const float> columns;
  int64_t first = 0, width = 1;
  double operator()(size_t i) const {
    return columns.empty()
               ? 1
               : static_cast<double>(
                     columns[static_cast<size_t>((first + static_cast<int64_t>(i)) % width)]);
  }
};

double loss(std::span<const double> w, const Grid& grid, const Importance& importance) {
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double d = static_cast<double>(grid.value(grid.code(w[i]))) - w[i];
    sum += importance(i) * d * d;
  }
  return sum;
}

// The scale that fits best to the codes that `grid` gives.
Grid refit(std::span<const double> w, Grid grid, const Importance& importance, DType dtype) {
  double above = 0, below = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double steps = grid.code(w[i]) - grid.zero;
    above += importance(i) * w[i] * steps;
    below += importance(i) * steps * steps;
  }
  if (below > 0 && above != 0)
    grid.scale = format::stored_scale(above / below, dtype, grid.clamped);
  return grid;
}

Grid search(std::span<const double> w, const Grid& start, const Importance& importance,
            const format::Format& format, const Options& o) {
  thread_local Scaled run;
  run.unit = 0;
  double heaviest = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    run.unit = std::max(run.unit, std::fabs(w[i]));
    heaviest = std::max(heaviest, importance(i));
  }
  if (run.unit == 0 || !(heaviest > 0)) return start;
  const size_t padded = (w.size() + kLanes - 1) / kLanes * kLanes;
  run.w.assign(padded, 0);
  run.importance.assign(padded, 0);
  for (size_t i = 0; i < w.size(); ++i) {
    run.w[i] = static_cast<float>(w[i] / run.unit);
    run.importance[i] = static_cast<float>(importance(i) / heaviest);
  }

  Grid best = start;
  float least = std::numeric_limits<float>::infinity();
  const double from = 1 / o.widest,
               step = o.steps > 1 ? (1 / o.narrowest - from) / static_cast<double>(o.steps - 1) : 0;
  for (int64_t s = 0; s < o.steps; ++s) {
    Grid grid = start;
    grid.scale = format::stored_scale(
        static_cast<double>(start.scale) / (from + step * static_cast<double>(s)),
        format.scale_dtype, grid.clamped);
    const auto scale = static_cast<float>(static_cast<double>(grid.scale) / run.unit);
    for (int32_t zero = start.zero - !format.symmetric; zero <= start.zero + !format.symmetric;
         ++zero) {
      if (zero < 0 || zero > start.max_code) continue;
      grid.zero = zero;
      const float value = rough_loss(run, scale, static_cast<float>(-zero),
                                     static_cast<float>(grid.max_code - zero), least);
      if (!(value < least)) continue;
      least = value;
      best = grid;
    }
  }
  double best_loss = loss(w, best, importance);
  for (int64_t round = 0; round < o.refine; ++round) {
    const Grid grid = refit(w, best, importance, format.scale_dtype);
    const double value = loss(w, grid, importance);
    if (!(value < best_loss)) break;
    best_loss = value;
    best = grid;
  }
  return best_loss < loss(w, start, importance) ? best : start;
}

std::vector<float> importance_of(const recipe::InputStatistics& statistics, const Options& o) {
  if (o.importance == "none") return {};
  if (!statistics.square.empty() || statistics.hessian == nullptr) {
    check(!statistics.square.empty(), "nearest_search was given no mean squares of its input");
    return statistics.square;
  }
  std::vector<float> diagonal(static_cast<size_t>(
      statistics.hessian->rows));  // the same up to a factor, which changes nothing
  for (size_t k = 0; k < diagonal.size(); ++k)
    diagonal[k] = static_cast<float>(
        statistics.hessian->at(static_cast<int64_t>(k), static_cast<int64_t>(k)));
  return diagonal;
}

std::vector<Result> run(std::span<const Problem> problems, recipe::InputStatistics&& statistics,
                        const Json& json, const Context& context) {
  const auto o = read_options<Options>(json, "nearest_search");
  const std::vector<float> importance = importance_of(statistics, o);
  for (size_t k = 0; k < importance.size(); ++k)
    if (!std::isfinite(importance[k]))
      throw NumericError(
          problems[0].name,
          "the mean square of its input is not finite at column " + std::to_string(k),
          "the model's activations overflow on the calibration text: look for a damaged weight "
          "before this layer");
  Threads threads(context);
  std::vector<Result> results;
  for (const Problem& problem : problems) {
    context.throw_if_stopped();
    const Matrix<float>& w = *problem.weight;
    check(importance.empty() || static_cast<int64_t>(importance.size()) == w.cols,
          "the statistics are not of this layer's input");
    check_finite(problem, threads.pool());
    const auto& kind = format::kind_of(problem.format);
    const auto fit = [&](std::span<const double> weights, int64_t first) {
      return search(weights, kind.fit(weights, problem.format),
                    Importance{importance, first, w.cols}, problem.format, o);
    };
    Result result;
    result.codes =
        format::quantize_runs(w, problem.format, fit, &threads.pool(), &result.clamped_scales);
    result.error = weighted_error(result.codes, w, importance, threads.pool());
    result.nearest_error =
        weighted_error(format::quantize_nearest(w, problem.format, &threads.pool()), w, importance,
                       threads.pool());
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace

Entry nearest_search() {
  Entry entry = describe<Options>("nearest_search");
  entry.summary = "nearest rounding on scales searched for the least error";
  entry.more_needs = [](const Json& json) {
    const auto o = read_options<Options>(json, "nearest_search");
    return o.importance == "input" ? std::set<recipe::Need>{recipe::Need::input_square}
                                   : std::set<recipe::Need>{};
  };
  entry.flops = [](int64_t n, int64_t k) {
    return 600.0 * static_cast<double>(n) * static_cast<double>(k);
  };
  entry.run = run;
  return entry;
}

}  // namespace halftone::rounder
