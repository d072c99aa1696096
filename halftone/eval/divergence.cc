#include "halftone/eval/divergence.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/eval/rows.h"

namespace halftone::eval {

RowDivergence compare_rows(std::span<const float> reference, std::span<const float> candidate,
                           int32_t target) {
  // KL = sum p (log p - log q). The shift log Z is the same for every entry: sum p (r - c) - log Zr
  // + log Zc.
  double sums[8] = {};
  const RowSum p = log_sum_exp(reference, [&](size_t first, std::span<const float> weights) {
    const float *r = reference.data() + first, *c = candidate.data() + first;
    const auto term = [&](size_t i) {
      return static_cast<double>(weights[i]) *
             (static_cast<double>(r[i]) - static_cast<double>(c[i]));
    };
    size_t i = 0;
    for (; i + 8 <= weights.size(); i += 8)
      for (size_t k = 0; k < 8; ++k) sums[k] += term(i + k);
    for (; i < weights.size(); ++i) sums[0] += term(i);
  });
  const RowSum q = log_sum_exp(candidate);
  double sum = 0;
  for (double s : sums) sum += s;
  const double z = std::exp(p.log_sum - static_cast<double>(p.max));
  RowDivergence out;
  // Negative by rounding only (terms are exponentials in f32). NaN stays: the caller looks for it.
  const double kl = sum / z - p.log_sum + q.log_sum;
  out.kl = kl < 0 ? 0 : kl;
  out.reference_nll = p.log_sum - static_cast<double>(reference[static_cast<size_t>(target)]);
  out.nll = q.log_sum - static_cast<double>(candidate[static_cast<size_t>(target)]);
  out.same_top = p.argmax == q.argmax;
  return out;
}

namespace {

// Sums of one window: what the bootstrap draws.
struct WindowSums {
  double count = 0, kl = 0, same = 0, reference_nll = 0, nll = 0, weight = 1;
};

struct Tally {
  std::vector<WindowSums> windows;
  std::vector<float> kls;
};

// Fills `rows` with the next `wanted` positions, whatever chunks the source prefers.
void pull(LogitSource& source, std::span<float> rows, int64_t wanted, int64_t vocabulary) {
  for (int64_t have = 0; have < wanted;) {
    const int64_t n = source.next(rows.subspan(static_cast<size_t>(have * vocabulary),
                                               static_cast<size_t>((wanted - have) * vocabulary)));
    check(n > 0, "a source ended before its last position");
    have += n;
  }
}

Divergence summary(const Tally& tally) {
  const auto& windows = tally.windows;
  const auto count = static_cast<int64_t>(windows.size());
  const auto per_token = [&](double WindowSums::*part) {
    return [&windows, part](std::span<const double> m) {
      double sum = 0, n = 0;
      for (size_t i = 0; i < windows.size(); ++i)
        sum += m[i] * (windows[i].*part), n += m[i] * windows[i].count;
      return sum / n;
    };
  };
  const auto mean_nll = [&](double WindowSums::*part, std::span<const double> m) {
    double sum = 0, n = 0;
    for (size_t i = 0; i < windows.size(); ++i) {
      sum += m[i] * windows[i].weight * (windows[i].*part) / windows[i].count;
      n += m[i] * windows[i].weight;
    }
    return sum / n;
  };
  const std::vector<double> once(windows.size(), 1.0);
  Divergence result;
  result.kl_mean = per_token(&WindowSums::kl)(once);
  result.kl_ci95 = bootstrap(count, per_token(&WindowSums::kl));
  result.kl_median = percentile(tally.kls, 0.5);
  result.kl_p90 = percentile(tally.kls, 0.9);
  result.kl_p99 = percentile(tally.kls, 0.99);
  result.kl_max = percentile(tally.kls, 1.0);
  result.top1_agreement = per_token(&WindowSums::same)(once);
  result.top1_ci95 = bootstrap(count, per_token(&WindowSums::same));
  result.reference_perplexity = std::exp(mean_nll(&WindowSums::reference_nll, once));
  result.perplexity = std::exp(mean_nll(&WindowSums::nll, once));
  result.perplexity_ratio_ci95 = bootstrap(count, [&](std::span<const double> m) {
    return std::exp(mean_nll(&WindowSums::nll, m) - mean_nll(&WindowSums::reference_nll, m));
  });
  result.positions = static_cast<int64_t>(tally.kls.size());
  result.windows = count;
  return result;
}

}  // namespace

std::vector<Divergence> divergence(LogitSource& reference, std::span<LogitSource* const> candidates,
                                   std::span<const int32_t> ids, const Protocol& protocol,
                                   const Context& context) {
  const int64_t vocabulary = reference.vocabulary();
  for (const LogitSource* candidate : candidates)
    if (candidate->vocabulary() != vocabulary)
      throw InputError(candidate->label(),
                       "has a vocabulary of " + std::to_string(candidate->vocabulary()) +
                           ", the reference " + std::to_string(vocabulary),
                       "compare models of one family");
  if (protocol.windows.empty())
    throw InputError("text", "is shorter than one window", "give more text or a shorter window");
  const auto start = std::chrono::steady_clock::now();
  const auto row = static_cast<size_t>(vocabulary);
  std::vector<float> a(static_cast<size_t>(kRowsPerChunk) * row), b(a.size());
  std::vector<RowDivergence> found(static_cast<size_t>(kRowsPerChunk));
  std::vector<Tally> tallies(candidates.size());
  const double total = total_tokens(protocol);
  double done = 0;
  for (const Window& window : protocol.windows) {
    context.throw_if_stopped();
    const auto tokens = ids.subspan(static_cast<size_t>(window.begin),
                                    static_cast<size_t>(window.end - window.begin));
    int64_t position = window.first_target - 1 - window.begin;
    const int64_t last = window.end - 1 - window.begin;
    reference.begin(tokens, position);
    for (LogitSource* candidate : candidates) candidate->begin(tokens, position);
    for (Tally& tally : tallies) tally.windows.push_back({.weight = window.weight});
    while (position < last) {
      const int64_t have = reference.next(a);
      check(have > 0, "a source ended before its last position");
      const int64_t scored = std::min(have, last - position);
      for (size_t c = 0; c < candidates.size(); ++c) {
        pull(*candidates[c], b, have, vocabulary);
        context.pool->each(scored, [&](int64_t i) {
          const size_t at = static_cast<size_t>(i) * row;
          found[static_cast<size_t>(i)] =
              compare_rows(std::span<const float>(a).subspan(at, row),
                           std::span<const float>(b).subspan(at, row),
                           tokens[static_cast<size_t>(position + i + 1)]);
        });
        WindowSums& sums = tallies[c].windows.back();
        for (int64_t i = 0; i < scored; ++i) {
          const RowDivergence& d = found[static_cast<size_t>(i)];
          if (!std::isfinite(d.kl))
            throw NumericError(candidates[c]->label(),
                               "position " + std::to_string(window.begin + position + i) +
                                   " has a logit that is not finite");
          sums.count += 1;
          sums.kl += d.kl;
          sums.same += d.same_top ? 1 : 0;
          sums.reference_nll += d.reference_nll;
          sums.nll += d.nll;
          tallies[c].kls.push_back(static_cast<float>(d.kl));
        }
      }
      position += have;
      context.progress({"compare", "", done + static_cast<double>(position), total, "tok"});
    }
    done += static_cast<double>(window.end - window.begin);
  }
  std::vector<Divergence> results;
  for (const Tally& tally : tallies) {
    results.push_back(summary(tally));
    results.back().protocol = protocol.name;
    results.back().seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return results;
}

}  // namespace halftone::eval
