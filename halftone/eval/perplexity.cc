#include "halftone/eval/perplexity.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/eval/rows.h"

namespace halftone::eval {

double nll(std::span<const float> row, int32_t target, int64_t position, std::string_view label) {
  const RowSum sum = log_sum_exp(row);
  if (!std::isfinite(sum.log_sum))
    throw NumericError(std::string(label),
                       "position " + std::to_string(position) + " has a logit that is not finite");
  return sum.log_sum - static_cast<double>(row[static_cast<size_t>(target)]);
}

Perplexity perplexity(LogitSource& source, std::span<const int32_t> ids, const Protocol& protocol,
                      const Context& context, const RunMemory& memory) {
  const auto start = std::chrono::steady_clock::now();
  Perplexity result;
  result.protocol = protocol.name;
  const int64_t vocabulary = source.vocabulary(), chunk = rows_per_chunk(vocabulary);
  std::vector<float> rows(static_cast<size_t>(chunk * vocabulary));
  std::vector<double> losses(static_cast<size_t>(chunk));
  const double total = total_tokens(protocol);
  double done = 0;
  std::vector<double> weights;
  for (const Window& window : protocol.windows) {
    context.throw_if_stopped();
    const auto tokens = ids.subspan(static_cast<size_t>(window.begin),
                                    static_cast<size_t>(window.end - window.begin));
    const int64_t first = window.first_target - 1 - window.begin;
    const int64_t scored_tokens = window.end - window.first_target;
    const uint64_t key = memory.find ? memory_key("window", tokens, first) : 0;
    const std::optional<Json> kept = memory.find ? memory.find(key) : std::nullopt;
    if (kept) {
      done += static_cast<double>(window.end - window.begin);
      result.tokens += scored_tokens;
      result.window_nll.push_back(kept->get<double>());
      weights.push_back(window.weight);
      continue;
    }
    source.begin(tokens, first);
    double sum = 0;
    int64_t position = first;
    const int64_t last =
        window.end - 1 - window.begin;  // the last position predicts nothing that is scored
    while (position < last) {
      const int64_t n = source.next(rows);
      check(n > 0, "a source ended before its last position");
      const int64_t scored = std::min(n, last - position);
      context.pool->each(scored, [&](int64_t i) {
        losses[static_cast<size_t>(i)] =
            nll(std::span<const float>(rows).subspan(static_cast<size_t>(i * vocabulary),
                                                     static_cast<size_t>(vocabulary)),
                tokens[static_cast<size_t>(position + i + 1)], window.begin + position + i,
                source.label());
      });
      for (int64_t i = 0; i < scored; ++i) sum += losses[static_cast<size_t>(i)];
      position += n;
      context.progress(
          {"perplexity", source.label(), done + static_cast<double>(position), total, "tok"});
    }
    done += static_cast<double>(window.end - window.begin);
    result.tokens += scored_tokens;
    result.window_nll.push_back(sum / static_cast<double>(scored_tokens));
    if (memory.keep) memory.keep(key, result.window_nll.back());
    weights.push_back(window.weight);
  }
  if (result.window_nll.empty())
    throw InputError("text", "is shorter than one window", "give more text or a shorter window");
  const auto mean = [&](std::span<const double> multiplicity) {
    double sum = 0, weight = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      sum += multiplicity[i] * weights[i] * result.window_nll[i];
      weight += multiplicity[i] * weights[i];
    }
    return sum / weight;
  };
  result.mean_nll = mean(std::vector<double>(weights.size(), 1.0));
  result.perplexity = std::exp(result.mean_nll);
  const Interval interval = bootstrap(static_cast<int64_t>(weights.size()), mean);
  result.ci95 = {std::exp(interval[0]), std::exp(interval[1])};
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace halftone::eval
