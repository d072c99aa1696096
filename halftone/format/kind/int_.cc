// Uniform integer grids of 2 to 8 bits: W = scale * (code - zero). Five published rules make scale
// and zero out of the smallest and largest weight; all are called "4-bit min-max" somewhere and no
// two agree, so each has its name and its own function here.
//
// L = 2^b - 1, h = 2^(b-1), z(min) = clamp(round(-min / scale), 0, L). Scales are rounded to the
// storage dtype before zeros and codes are chosen with them.
//   name                from                      range                step                  zero
//   compressed_tensors  compressed-tensors  sym   a = max|w|           2a / L                h
//                                           asym  min(w,0), max(w,0)   (max-min) / L         z(min)
//   gptq                IST-DASLab/gptq     sym   a = max|w|           2a / L, but a / L if  h
//                                                                      no weight is below 0
//                                           asym  min(w,0), max(w,0)   (max-min) / L         z(min)
//   awq                 mit-han-lab/llm-awq asym  min(w), max(w)       max(max-min,1e-5)/L   z(min)
//   absmax              spcl/QuaRot         sym   a = max(max|w|,1e-5) a / (h-1)             h
//   full_range          intel/auto-round    sym   e = the weight of    -e / h, so it may be  h
//                                                 largest magnitude    negative; |s| >= 1e-5
// gptq: a group without negative weights takes (0, a), keeps zero h: codes above a/2 are cut off.
// awq: zero need not be inside the range, so a group far from 0 saturates.
// absmax: code 0 is left unused.
// All zero: scale 1, codes = zero = h, under every rule.
#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "halftone/base/error.h"
#include "halftone/format/format.h"

namespace halftone::format {
namespace {

constexpr size_t kLanes = 16;

struct Range {
  double low = 0, high = 0;
};

// Step and zero for a range shrunk by the factor p (1 but in the clip search).
struct Rule {
  std::string_view name;
  bool symmetric, asymmetric;  // which of the two it defines
  double (*step)(Range range, bool symmetric, double p, int64_t bits);
};

double levels(int64_t bits) { return static_cast<double>((int64_t{1} << bits) - 1); }
double half(int64_t bits) { return static_cast<double>(int64_t{1} << (bits - 1)); }

double magnitude(Range r) { return std::max(-r.low, r.high); }

double compressed_tensors_step(Range r, bool symmetric, double p, int64_t bits) {
  if (symmetric) return p * 2 * magnitude(r) / levels(bits);
  return p * (std::max(r.high, 0.0) - std::min(r.low, 0.0)) / levels(bits);
}

double gptq_step(Range r, bool symmetric, double p, int64_t bits) {
  if (symmetric && r.low >= 0) return p * r.high / levels(bits);
  return compressed_tensors_step(r, symmetric, p, bits);
}

double awq_step(Range r, bool, double p, int64_t bits) {
  return std::max(p * (r.high - r.low), 1e-5) / levels(bits);
}

double absmax_step(Range r, bool, double p, int64_t bits) {
  return p * std::max(magnitude(r), 1e-5) / (half(bits) - 1);
}

double full_range_step(Range r, bool, double p, int64_t bits) {
  const double extreme = r.high >= -r.low ? r.high : r.low;
  const double step = std::max(p * std::fabs(extreme) / half(bits), 1e-5);
  return extreme > 0 ? -step : step;
}

constexpr std::array<Rule, 5> kRules = {{
    {"compressed_tensors", true, true, compressed_tensors_step},
    {"gptq", true, true, gptq_step},
    {"awq", false, true, awq_step},
    {"absmax", true, false, absmax_step},
    {"full_range", true, false, full_range_step},
}};

const Rule& rule_of(const Format& format) {
  for (const Rule& rule : kRules)
    if (rule.name == format.grid) return rule;
  throw InputError("format " + format.label(), "unknown grid " + quote(format.grid));
}

Grid make_grid(const Rule& rule, Range range, double p, const Format& format) {
  Grid grid;
  grid.max_code = static_cast<int32_t>(levels(format.bits));
  grid.scale = stored_scale(rule.step(range, format.symmetric, p, format.bits), format.scale_dtype,
                            grid.clamped);
  grid.zero = static_cast<int32_t>(half(format.bits));
  if (format.symmetric) return grid;
  const double low = rule.step == awq_step ? range.low : std::min(range.low, 0.0);
  const double zero =
      round_half_even(std::clamp(-p * low / static_cast<double>(grid.scale), -1.0, 256.0));
  grid.zero = static_cast<int32_t>(std::clamp(zero, 0.0, levels(format.bits)));
  return grid;
}

// The smallest and largest weight. NaN is passed over and infinity counts as the largest float, so
// that what slips past a caller's check for them still has a usable grid.
Range range_of(std::span<const double> w) {
  std::array<double, kLanes> low, high;
  low.fill(std::numeric_limits<double>::infinity());
  high.fill(-std::numeric_limits<double>::infinity());
  size_t i = 0;
  for (; i + kLanes <= w.size(); i += kLanes)
    for (size_t l = 0; l < kLanes; ++l) {
      const double x = w[i + l];
      low[l] = x < low[l] ? x : low[l];
      high[l] = x > high[l] ? x : high[l];
    }
  for (; i < w.size(); ++i) {
    low[0] = w[i] < low[0] ? w[i] : low[0];
    high[0] = w[i] > high[0] ? w[i] : high[0];
  }
  const double smallest = *std::min_element(low.begin(), low.end()),
               largest = *std::max_element(high.begin(), high.end());
  if (!(smallest <= largest)) return {};
  constexpr double kF32 = std::numeric_limits<float>::max();
  return {std::clamp(smallest, -kF32, kF32), std::clamp(largest, -kF32, kF32)};
}

// Sum of t^2.4 over one step of lanes, added to `sums`; t in [1e-20, 2]. t^2.4 = (t z)^3 with
// z = t^(-1/5), which Newton finds from a guess made in the exponent bits (3 % off; 2e-5 after two
// rounds, 1e-14 after four). Written out because 80 candidates a weight through pow() would take
// minutes on a small model, and this vectorises.
template <class T, int kRounds>
inline void add_powers(const T* t, T* sums) {
  float guess[kLanes];
  for (size_t l = 0; l < kLanes; ++l) {
    const auto bits = static_cast<float>(std::bit_cast<int32_t>(static_cast<float>(t[l])));
    guess[l] = std::bit_cast<float>(0x4c2ba000 - static_cast<int32_t>(bits * 0.2f));
  }
  for (size_t l = 0; l < kLanes; ++l) {
    T z = static_cast<T>(guess[l]);
    for (int i = 0; i < kRounds; ++i) {
      const T square = z * z;
      z = z * (static_cast<T>(1.2) - static_cast<T>(0.2) * t[l] * (square * square * z));
    }
    const T cube = t[l] * z;
    sums[l] += cube * cube * cube;
  }
}

// Sum over v of |Q - v|^2.4, v padded with zeros (which a grid holds exactly) to whole lanes. Gives
// up, returning something >= limit, once the sum cannot come out below it.
template <class T, int kRounds>
T clip_error(std::span<const T> v, T scale, const Grid& grid, T limit) {
  // round_half_even
  constexpr T kMagic = sizeof(T) == 8 ? static_cast<T>(0x1.8p52) : static_cast<T>(0x1.8p23);
  const T low = static_cast<T>(-grid.zero), high = static_cast<T>(grid.max_code - grid.zero);
  T sums[kLanes] = {}, t[kLanes];
  const auto total = [&] {
    T sum = 0;
    for (const T lane : sums) sum += lane;
    return sum;
  };
  for (size_t i = 0; i < v.size(); i += kLanes) {
    for (size_t l = 0; l < kLanes; ++l) {
      const T value = v[i + l];
      T x = value / scale;
      x = x > low ? x : low;
      x = x < high ? x : high;
      // Not below 1e-20, where z^5 would overflow f32; its power is nothing beside any other.
      const T error = std::fabs(((x + kMagic) - kMagic) * scale - value);
      t[l] = error > static_cast<T>(1e-20) ? error : static_cast<T>(1e-20);
    }
    add_powers<T, kRounds>(t, sums);
    if (i % (2 * kLanes) == kLanes && total() >= limit) return limit;
  }
  return total();
}

// GPTQ's search: both ends shrunk by p = 1.00, 0.99 ... 0.21; the first of the best by sum |Q -
// w|^2.4. All candidates are scored in f32 first (good to 1e-4 at 8 bits), then those within 1e-3
// of the best in f64: the winner is that of a search in f64 throughout.
Grid search(const Rule& rule, std::span<const double> w, Range range, const Format& format) {
  constexpr int kSteps = 80;
  const double unit = magnitude(range);
  const size_t padded = (w.size() + kLanes - 1) / kLanes * kLanes;
  thread_local std::vector<double> exact;
  thread_local std::vector<float> rough;
  exact.assign(padded, 0);
  rough.assign(padded, 0);
  for (size_t i = 0; i < w.size(); ++i) {
    exact[i] = w[i] / unit;
    rough[i] = static_cast<float>(exact[i]);
  }
  std::array<Grid, kSteps> grids;
  std::array<float, kSteps> scores;
  float limit = std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < kSteps; ++i) {
    grids[i] = make_grid(rule, range, 1 - static_cast<double>(i) / 100, format);
    const float scale = static_cast<float>(static_cast<double>(grids[i].scale) / unit);
    scores[i] = clip_error<float, 2>(rough, scale, grids[i], limit);
    limit = std::min(limit, scores[i] * 1.001f);
  }
  Grid best = grids[0];
  double best_error = std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < kSteps; ++i) {
    if (!(scores[i] < limit)) continue;
    const double error = clip_error<double, 4>(exact, static_cast<double>(grids[i].scale) / unit,
                                               grids[i], best_error);
    if (!(error < best_error)) continue;
    best_error = error;
    best = grids[i];
  }
  return best;
}

Grid fit(std::span<const double> w, const Format& format) {
  const Rule& rule = rule_of(format);
  const Range range = range_of(w);
  if (range.low == 0 && range.high == 0) {
    const auto middle = static_cast<int32_t>(half(format.bits));
    return {.scale = 1,
            .zero = middle,
            .max_code = static_cast<int32_t>(levels(format.bits)),
            .clamped = false};
  }
  return format.clip_search ? search(rule, w, range, format) : make_grid(rule, range, 1, format);
}

std::string clash(const Format& format) {
  if (format.bits < 2 || format.bits > 8)
    return "int takes 2 to 8 bits, not " + std::to_string(format.bits);
  const Rule& rule = rule_of(format);
  const std::string name = "grid " + std::string(rule.name);
  if (format.symmetric && !rule.symmetric)
    return name + " has no symmetric form: use compressed_tensors, or symmetric: false";
  if (!format.symmetric && !rule.asymmetric)
    return name + " has no asymmetric form: use compressed_tensors, or symmetric: true";
  return {};
}

}  // namespace

Kind int_() {
  Kind kind{.summary = "uniform integer grid of 2 to 8 bits",
            .paper = "arXiv:2210.17323 and others, by grid",
            .clash = clash,
            .fit = fit};
  for (const Rule& rule : kRules) kind.grids.emplace_back(rule.name);
  return kind;
}

}  // namespace halftone::format
