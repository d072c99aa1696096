#include "halftone/pack/channel_ranges.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"

namespace halftone::pack {

ChannelRange channel_range(const Matrix<float>& w) {
  ChannelRange out;
  if (w.cols == 0) return out;
  std::vector<float> largest(static_cast<size_t>(w.cols), 0.0f);
  for (int64_t r = 0; r < w.rows; ++r) {
    const auto row = w.row(r);
    for (size_t k = 0; k < largest.size(); ++k)
      if (std::isfinite(row[k])) largest[k] = std::max(largest[k], std::abs(row[k]));
  }
  std::vector<int64_t> order(largest.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return largest[static_cast<size_t>(a)] > largest[static_cast<size_t>(b)];
  });
  const auto ranked = [&](int64_t from_top) {
    return largest[static_cast<size_t>(order[static_cast<size_t>(from_top)])];
  };
  const auto percentile = [&](double p) {
    const double place = (1 - p) * static_cast<double>(w.cols - 1);
    const auto above = static_cast<int64_t>(place);
    const double a = ranked(above), b = ranked(std::min(above + 1, w.cols - 1));
    return a + (b - a) * (place - static_cast<double>(above));
  };
  out.p1 = percentile(0.01);
  out.q1 = percentile(0.25);
  out.median = percentile(0.5);
  out.q3 = percentile(0.75);
  out.p99 = percentile(0.99);
  for (int64_t i = 0; i < std::min<int64_t>(8, w.cols); ++i)
    out.worst.emplace_back(order[static_cast<size_t>(i)], ranked(i));
  return out;
}

std::vector<LinearRange> channel_ranges(const PackedModel& model, const Context& context) {
  const auto linears = spec::linears(model.checkpoint().spec);
  std::vector<std::optional<LinearRange>> rows(linears.size());
  context.pool->each(std::ssize(linears), [&](int64_t i) {
    const auto& ref = linears[static_cast<size_t>(i)];
    context.throw_if_stopped();
    try {
      rows[static_cast<size_t>(i)] =
          LinearRange{.op = ref.op->name,
                      .role = std::string(spec::role_name(ref.linear().role)),
                      .block = ref.segment,
                      .range = channel_range(effective_weight(model.linear(*ref.op)))};
    } catch (const Error& e) {
      if (e.code() == Code::interrupted) throw;
    }
  });
  std::vector<LinearRange> out;
  for (auto& row : rows)
    if (row) out.push_back(std::move(*row));
  return out;
}

}  // namespace halftone::pack
