#include "halftone/eval/divergence.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/eval/rows.h"

namespace halftone::eval {

RowDivergence compare_rows(std::span<const float> reference, std::span<const float> candidate, int32_t target) {
  const RowSum p = log_sum_exp(reference), q = log_sum_exp(candidate);
  // KL = sum p (log p - log q). The shift log Z is the same for every entry: sum p (r - c) - log Zr + log Zc.
  double sums[8] = {};
  const auto term = [&](size_t i) {
    const double weight = static_cast<double>(std::exp(reference[i] - p.max));
    return weight * (static_cast<double>(reference[i]) - static_cast<double>(candidate[i]));
  };
  size_t i = 0;
  for (; i + 8 <= reference.size(); i += 8)
    for (size_t k = 0; k < 8; ++k) sums[k] += term(i + k);
  for (; i < reference.size(); ++i) sums[0] += term(i);
  double sum = 0;
  for (double s : sums) sum += s;
  const double z = std::exp(p.log_sum - static_cast<double>(p.max));
  RowDivergence out;
  out.kl = sum / z - p.log_sum + q.log_sum;
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

}  // namespace

Divergence divergence(LogitSource& reference, LogitSource& candidate, std::span<const int32_t> ids, const Protocol& protocol,
                      const Context& context) {
  if (reference.vocabulary() != candidate.vocabulary())
    throw InputError(candidate.label(), "has a vocabulary of " + std::to_string(candidate.vocabulary()) + ", the reference " +
                                            std::to_string(reference.vocabulary()), "compare models of one family");
  const auto start = std::chrono::steady_clock::now();
  const int64_t vocabulary = reference.vocabulary();
  const auto stride = static_cast<size_t>(vocabulary);
  std::vector<float> a(static_cast<size_t>(kRowsPerChunk * vocabulary)), b(a.size());
  std::vector<RowDivergence> found(static_cast<size_t>(kRowsPerChunk));
  std::vector<WindowSums> windows;
  std::vector<float> kls;
  const double total = total_tokens(protocol);
  double done = 0;
  for (const Window& window : protocol.windows) {
    context.throw_if_stopped();
    const auto tokens = ids.subspan(static_cast<size_t>(window.begin), static_cast<size_t>(window.end - window.begin));
    int64_t position = window.first_target - 1 - window.begin;
    const int64_t last = window.end - 1 - window.begin;
    reference.begin(tokens, position);
    candidate.begin(tokens, position);
    int64_t have_a = 0, have_b = 0;
    WindowSums sums;
    sums.weight = window.weight;
    while (position < last) {
      have_a = reference.next(a);
      // The candidate may chunk differently: fill the same number of rows.
      have_b = 0;
      while (have_b < have_a) {
        const int64_t n = candidate.next(std::span<float>(b).subspan(static_cast<size_t>(have_b) * stride, static_cast<size_t>(have_a - have_b) * stride));
        check(n > 0, "a source ended before its last position");
        have_b += n;
      }
      check(have_a > 0, "a source ended before its last position");
      const int64_t scored = std::min(have_a, last - position);
      context.pool->each(scored, [&](int64_t i) {
        const auto at = static_cast<size_t>(i) * stride;
        found[static_cast<size_t>(i)] = compare_rows(std::span<const float>(a).subspan(at, stride), std::span<const float>(b).subspan(at, stride),
                                                     tokens[static_cast<size_t>(position + i + 1)]);
      });
      for (int64_t i = 0; i < scored; ++i) {
        const RowDivergence& row = found[static_cast<size_t>(i)];
        if (!std::isfinite(row.kl))
          throw NumericError("logits", "position " + std::to_string(window.begin + position + i) + " has a logit that is not finite");
        sums.count += 1;
        sums.kl += row.kl;
        sums.same += row.same_top ? 1 : 0;
        sums.reference_nll += row.reference_nll;
        sums.nll += row.nll;
        kls.push_back(static_cast<float>(row.kl));
      }
      position += have_a;
      context.progress({"compare", candidate.label(), done + static_cast<double>(position), total, "tok"});
    }
    done += static_cast<double>(window.end - window.begin);
    windows.push_back(sums);
  }
  if (windows.empty()) throw InputError("text", "is shorter than one window", "give more text or a shorter window");

  const auto count = static_cast<int64_t>(windows.size());
  const auto ratio = [&](double WindowSums::* part) {
    return [&windows, part](std::span<const double> m) {
      double sum = 0, n = 0;
      for (size_t i = 0; i < windows.size(); ++i) sum += m[i] * (windows[i].*part), n += m[i] * windows[i].count;
      return sum / n;
    };
  };
  const auto mean_nll = [&](double WindowSums::* part, std::span<const double> m) {
    double sum = 0, n = 0;
    for (size_t i = 0; i < windows.size(); ++i) {
      sum += m[i] * windows[i].weight * (windows[i].*part) / windows[i].count;
      n += m[i] * windows[i].weight;
    }
    return sum / n;
  };
  const std::vector<double> once(windows.size(), 1.0);
  Divergence result;
  result.kl_mean = ratio(&WindowSums::kl)(once);
  result.kl_ci95 = bootstrap(count, ratio(&WindowSums::kl));
  result.kl_median = percentile(kls, 0.5);
  result.kl_p90 = percentile(kls, 0.9);
  result.kl_p99 = percentile(kls, 0.99);
  result.kl_max = percentile(kls, 1.0);
  result.top1_agreement = ratio(&WindowSums::same)(once);
  result.top1_ci95 = bootstrap(count, ratio(&WindowSums::same));
  result.reference_perplexity = std::exp(mean_nll(&WindowSums::reference_nll, once));
  result.perplexity = std::exp(mean_nll(&WindowSums::nll, once));
  result.perplexity_ratio_ci95 = bootstrap(count, [&](std::span<const double> m) {
    return std::exp(mean_nll(&WindowSums::nll, m) - mean_nll(&WindowSums::reference_nll, m));
  });
  result.positions = static_cast<int64_t>(kls.size());
  result.windows = count;
  result.protocol = protocol.name;
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return result;
}

}  // namespace halftone::eval
