#include "halftone/eval/divergence.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include "halftone/base/error.h"
#include "halftone/base/threads.h"
#include "halftone/eval/log_histogram.h"
#include "halftone/eval/rows.h"

namespace halftone::eval {
namespace {

// What one row is by itself: a reference's serves all candidates.
struct RowFacts {
  RowSum sum;
  TopFive top;
};
RowFacts facts_of(std::span<const float> row) { return {log_sum_exp(row), top_five(row)}; }

RowDivergence compare_rows(std::span<const float> reference, const RowFacts& known,
                           std::span<const float> candidate, int32_t target) {
  const RowFacts own = facts_of(candidate);
  const RowDistance apart = distance(reference, known.sum, candidate, own.sum);
  const auto nll = [&](std::span<const float> row, const RowSum& sum) {
    return sum.log_sum - static_cast<double>(row[static_cast<size_t>(target)]);
  };
  // NaN stays: the caller looks for it.
  const auto not_negative = [](double x) { return x < 0 ? 0 : x; };
  return {.kl = not_negative(apart.kl),
          .js = not_negative(apart.js),
          .reference_nll = nll(reference, known.sum),
          .nll = nll(candidate, own.sum),
          .top5 = overlap(known.top, own.top),
          .same_top = known.sum.argmax == own.sum.argmax};
}

// Sums over the positions of a window: what the bootstrap draws.
enum Sum : size_t { kl, js, same, top5, reference_nll, nll, kSums };
struct WindowSums {
  double count = 0, weight = 1;
  std::array<double, kSums> sums{};
};

// One window of one candidate.
struct WindowResult {
  WindowSums sums;
  LogHistogram kls, jss;

  void add(const RowDivergence& d) {
    sums.count += 1;
    const std::array<double, kSums> values = {
        d.kl, d.js, d.same_top ? 1.0 : 0.0, d.top5, d.reference_nll, d.nll};
    for (size_t i = 0; i < kSums; ++i) sums.sums[i] += values[i];
    kls.add(d.kl);
    jss.add(d.js);
  }
  Json json() const {
    return {{"count", sums.count}, {"sums", sums.sums}, {"kl", kls.json()}, {"js", jss.json()}};
  }
  static WindowResult from(const Json& json, double weight) {
    return {.sums = {json.at("count").get<double>(), weight,
                     json.at("sums").get<std::array<double, kSums>>()},
            .kls = LogHistogram::from(json.at("kl")),
            .jss = LogHistogram::from(json.at("js"))};
  }
};

struct Tally {
  std::vector<WindowSums> windows;
  LogHistogram kls, jss;
  void add(const WindowResult& window) {
    windows.push_back(window.sums);
    kls.add(window.kls);
    jss.add(window.jss);
  }
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

// What is drawn together: means over positions, and the ratio of perplexities.
constexpr std::array kMeans = {kl, js, same, top5};
constexpr size_t kRatio = kMeans.size();
using Values = std::array<double, kMeans.size() + 1>;

double mean_nll(std::span<const WindowSums> windows, Sum part, std::span<const double> times) {
  double sum = 0, n = 0;
  for (size_t i = 0; i < windows.size(); ++i) {
    const WindowSums& w = windows[i];
    sum += times[i] * w.weight * w.sums[part] / w.count;
    n += times[i] * w.weight;
  }
  return sum / n;
}

void write_values(std::span<const WindowSums> windows, std::span<const double> times,
                  std::span<double> out) {
  double n = 0;
  std::fill(out.begin(), out.end(), 0.0);
  for (size_t i = 0; i < windows.size(); ++i) {
    n += times[i] * windows[i].count;
    for (size_t k = 0; k < kMeans.size(); ++k) out[k] += times[i] * windows[i].sums[kMeans[k]];
  }
  for (size_t k = 0; k < kMeans.size(); ++k) out[k] /= n;
  out[kRatio] = std::exp(mean_nll(windows, nll, times) - mean_nll(windows, reference_nll, times));
}

double deviation(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  return std::sqrt(squares / (n - 1));
}

Divergence summary(const Tally& tally) {
  const std::span<const WindowSums> windows = tally.windows;
  const std::vector<double> once(windows.size(), 1.0);
  Values whole{};
  write_values(windows, once, whole);
  Divergence out;
  std::array<Interval, whole.size()> ci95;
  for (size_t k = 0; k < whole.size(); ++k) ci95[k] = {whole[k], whole[k]};
  if (windows.size() > 1) {
    const auto draws = resample(std::ssize(windows), std::ssize(whole),
                                [&](std::span<const double> times, std::span<double> values) {
                                  write_values(windows, times, values);
                                });
    for (size_t k = 0; k < whole.size(); ++k) ci95[k] = middle(draws[k]);
    out.perplexity_ratio_se = deviation(draws[kRatio]);
  }
  out.kl_mean = whole[0], out.kl_ci95 = ci95[0];
  out.js_mean = whole[1], out.js_ci95 = ci95[1];
  out.top1_agreement = whole[2], out.top1_ci95 = ci95[2];
  out.top5_agreement = whole[3], out.top5_ci95 = ci95[3];
  out.perplexity_ratio = whole[kRatio], out.perplexity_ratio_ci95 = ci95[kRatio];
  const LogHistogram &kls = tally.kls, &jss = tally.jss;
  out.kl_median = kls.percentile(0.5), out.js_median = jss.percentile(0.5);
  out.kl_p90 = kls.percentile(0.9), out.js_p90 = jss.percentile(0.9);
  out.kl_p99 = kls.percentile(0.99), out.js_p99 = jss.percentile(0.99);
  out.kl_max = kls.max(), out.js_max = jss.max();
  out.reference_perplexity = std::exp(mean_nll(windows, reference_nll, once));
  out.perplexity = std::exp(mean_nll(windows, nll, once));
  out.positions = kls.count();
  out.windows = std::ssize(windows);
  return out;
}

// One candidate under way.
struct Candidate {
  LogitSource& source;
  const RunMemory* memory = nullptr;
  int64_t windows = 0;  // to be walked
  Tally tally = {};
};

// A window of the reference and of those candidates that do not know it.
class Walk {
 public:
  Walk(LogitSource& reference, std::span<const int32_t> ids, const Context& context)
      : reference_(reference),
        ids_(ids),
        context_(context),
        vocabulary_(reference.vocabulary()),
        chunk_(rows_per_chunk(vocabulary_)),
        a_(static_cast<size_t>(chunk_ * vocabulary_)),
        b_(a_.size()),
        known_(static_cast<size_t>(chunk_)),
        found_(known_.size()) {}

  // `progress` is told the tokens that are done.
  std::vector<WindowResult> window(const Window& window, std::span<Candidate* const> candidates,
                                   const std::function<void(double)>& progress) {
    const auto tokens = ids_.subspan(static_cast<size_t>(window.begin),
                                     static_cast<size_t>(window.end - window.begin));
    int64_t position = window.first_target - 1 - window.begin;
    const int64_t last = window.end - 1 - window.begin;
    std::vector<WindowResult> out(candidates.size());
    for (WindowResult& result : out) result.sums.weight = window.weight;
    reference_.begin(tokens, position);
    for (Candidate* candidate : candidates) candidate->source.begin(tokens, position);
    while (position < last) {
      const int64_t have = reference_.next(a_);
      check(have > 0, "a source ended before its last position");
      const int64_t scored = std::min(have, last - position);
      context_.pool->each(
          scored, [&](int64_t i) { known_[static_cast<size_t>(i)] = facts_of(row(a_, i)); });
      for (size_t c = 0; c < candidates.size(); ++c) {
        pull(candidates[c]->source, b_, have, vocabulary_);
        context_.pool->each(scored, [&](int64_t i) {
          found_[static_cast<size_t>(i)] =
              compare_rows(row(a_, i), known_[static_cast<size_t>(i)], row(b_, i),
                           tokens[static_cast<size_t>(position + i + 1)]);
        });
        for (int64_t i = 0; i < scored; ++i) {
          const RowDivergence& d = found_[static_cast<size_t>(i)];
          if (!std::isfinite(d.kl) || !std::isfinite(d.js))
            throw NumericError(candidates[c]->source.label(),
                               "position " + std::to_string(window.begin + position + i) +
                                   " has a logit that is not finite");
          out[c].add(d);
        }
      }
      position += have;
      progress(static_cast<double>(position));
    }
    return out;
  }

 private:
  std::span<const float> row(std::span<const float> rows, int64_t i) const {
    return rows.subspan(static_cast<size_t>(i * vocabulary_), static_cast<size_t>(vocabulary_));
  }
  LogitSource& reference_;
  std::span<const int32_t> ids_;
  const Context& context_;
  const int64_t vocabulary_, chunk_;
  std::vector<float> a_, b_;
  std::vector<RowFacts> known_;
  std::vector<RowDivergence> found_;
};

}  // namespace

RowDivergence compare_rows(std::span<const float> reference, std::span<const float> candidate,
                           int32_t target) {
  return compare_rows(reference, facts_of(reference), candidate, target);
}

std::vector<Divergence> divergence(LogitSource& reference, std::span<LogitSource* const> candidates,
                                   std::span<const int32_t> ids, const Protocol& protocol,
                                   const Context& context, const DivergenceOptions& options) {
  for (const LogitSource* candidate : candidates)
    if (candidate->vocabulary() != reference.vocabulary())
      throw InputError(candidate->label(),
                       "has a vocabulary of " + std::to_string(candidate->vocabulary()) +
                           ", the reference " + std::to_string(reference.vocabulary()),
                       "compare models of one family");
  if (protocol.windows.empty())
    throw InputError("text", "is shorter than one window", "give more text or a shorter window");
  const auto start = std::chrono::steady_clock::now();
  std::vector<Candidate> all;
  for (size_t c = 0; c < candidates.size(); ++c) {
    const bool fewer = options.last_windows > 0 && c + 1 == candidates.size();
    all.push_back({.source = *candidates[c],
                   .memory = c < options.memory.size() ? &options.memory[c] : nullptr,
                   .windows = fewer ? options.last_windows : std::ssize(protocol.windows)});
  }
  Walk walk(reference, ids, context);
  const double total = total_tokens(protocol);
  double done = 0;
  for (int64_t w = 0; w < std::ssize(protocol.windows); ++w) {
    context.throw_if_stopped();
    const Window& window = protocol.windows[static_cast<size_t>(w)];
    const int64_t tokens = window.end - window.begin;
    const uint64_t key = memory_key(
        "divergence", ids.subspan(static_cast<size_t>(window.begin), static_cast<size_t>(tokens)),
        window.first_target - window.begin);
    std::vector<Candidate*> walked;
    for (Candidate& candidate : all) {
      if (w >= candidate.windows) continue;
      const auto kept =
          candidate.memory && candidate.memory->find ? candidate.memory->find(key) : std::nullopt;
      if (kept)
        candidate.tally.add(WindowResult::from(*kept, window.weight));
      else
        walked.push_back(&candidate);
    }
    if (!walked.empty()) {
      const auto found = walk.window(window, walked, [&](double position) {
        context.progress({"compare", "", done + position, total, "tok"});
      });
      for (size_t c = 0; c < walked.size(); ++c) {
        walked[c]->tally.add(found[c]);
        if (walked[c]->memory && walked[c]->memory->keep)
          walked[c]->memory->keep(key, found[c].json());
      }
    }
    done += static_cast<double>(tokens);
  }
  std::vector<Divergence> results;
  for (const Candidate& candidate : all) {
    results.push_back(summary(candidate.tally));
    results.back().protocol = protocol.name;
    results.back().seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return results;
}

}  // namespace halftone::eval
