#include "halftone/runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string>

#include "halftone/base/error.h"
#include "halftone/base/json.h"
#include "halftone/base/rng.h"

namespace halftone::runtime {
namespace {

void refuse(bool bad, const char* name, double value, const char* wanted) {
  if (!bad) return;
  const std::string said = std::isfinite(value) ? Json(value).dump() : std::to_string(value);
  throw InputError(name, "is " + said + ", wanted " + wanted);
}

// More probable first, equal ones by id.
bool before(const TokenProbability& a, const TokenProbability& b) {
  return a.probability != b.probability ? a.probability > b.probability : a.id < b.id;
}

void normalise(std::vector<TokenProbability>& kept) {
  double sum = 0;
  for (const auto& t : kept) sum += t.probability;
  for (auto& t : kept) t.probability /= sum;
}

// The k-th largest of `scores`, or -inf where fewer are larger than that. One pass that keeps the
// best so far, at most 2k of them: it costs little more than reading a vocabulary. `best`: room.
float kth_largest(std::span<const float> scores, size_t k, std::vector<float>& best) {
  float least = -std::numeric_limits<float>::infinity();
  const auto shorten = [&] {
    const auto kth = best.begin() + static_cast<std::ptrdiff_t>(k - 1);
    std::nth_element(best.begin(), kth, best.end(), std::greater<>());
    best.resize(k);
    least = best.back();
  };
  best.clear();
  best.reserve(std::min(2 * k, scores.size()));  // once: a step allocates nothing
  for (const float s : scores) {
    if (!(s > least)) continue;
    best.push_back(s);
    if (best.size() == 2 * k) shorten();
  }
  if (best.size() >= k) shorten();
  return least;
}

// Shortens `kept` to the most probable tokens whose sum reaches p. Sorts only as far as needed: the
// front is enough nearly always.
void keep_nucleus(std::vector<TokenProbability>& kept, double p) {
  double sum = 0;
  size_t sorted = 0, step = 64;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (i == sorted) {
      sorted = std::min(kept.size(), sorted + step);
      step *= 4;
      std::partial_sort(kept.begin() + static_cast<std::ptrdiff_t>(i),
                        kept.begin() + static_cast<std::ptrdiff_t>(sorted), kept.end(), before);
    }
    sum += kept[i].probability;
    if (sum >= p) {
      kept.resize(i + 1);
      break;
    }
  }
}

}  // namespace

void validate(const SamplerOptions& o) {
  refuse(!(o.temperature >= 0) || !std::isfinite(o.temperature), "temperature", o.temperature,
         "0 (greedy) or more");
  refuse(o.top_k < 0, "top_k", static_cast<double>(o.top_k), "0 (off) or more");
  refuse(!(o.top_p > 0 && o.top_p <= 1), "top_p", o.top_p, "more than 0 and at most 1 (off)");
  refuse(!(o.min_p >= 0 && o.min_p < 1), "min_p", o.min_p, "0 (off) or more and less than 1");
  refuse(!(o.repetition_penalty > 0) || !std::isfinite(o.repetition_penalty), "repetition_penalty",
         o.repetition_penalty, "more than 0 (1: off)");
}

int32_t draw(std::span<const TokenProbability> distribution, double u) {
  double sum = 0;
  for (const auto& t : distribution) {
    sum += t.probability;
    if (u < sum) return t.id;
  }
  return distribution.back().id;  // rounding left the sum a hair below u
}

double uniform(const SamplerOptions& options, Purpose purpose, uint64_t step) {
  return CounterRng(options.seed, options.stream, static_cast<uint32_t>(purpose)).uniform(step);
}

Sampler::Sampler(SamplerOptions options) : options_(options) { validate(options_); }

std::span<const TokenProbability> Sampler::distribution(std::span<const float> logits,
                                                        std::span<const int32_t> seen) {
  std::span<const float> scores = logits;
  if (options_.repetition_penalty != 1) {
    scores_.assign(logits.begin(), logits.end());
    penalised_.assign(logits.size(), 0);
    const auto r = static_cast<float>(options_.repetition_penalty);
    for (const int32_t id : seen) {
      const auto i = static_cast<size_t>(id);
      if (id < 0 || i >= logits.size() || penalised_[i]) continue;
      penalised_[i] = 1;
      scores_[i] = scores_[i] > 0 ? scores_[i] / r : scores_[i] * r;
    }
    scores = scores_;
  }
  int32_t best = -1;
  float top = -std::numeric_limits<float>::infinity();
  for (size_t i = 0; i < scores.size(); ++i)
    if (scores[i] > top) {
      top = scores[i];
      best = static_cast<int32_t>(i);
    }
  if (best < 0 || !std::isfinite(top))
    throw NumericError("sampler", "no logit is a finite largest one");
  kept_.clear();
  if (options_.temperature == 0) {
    kept_.push_back({best, 1.0});
    return kept_;
  }

  kept_.reserve(scores.size());  // once: how many stay differs from step to step
  float least = -std::numeric_limits<float>::infinity();
  if (options_.top_k > 0 && options_.top_k < static_cast<int64_t>(scores.size()))
    least = kth_largest(scores, static_cast<size_t>(options_.top_k), best_);
  for (size_t i = 0; i < scores.size(); ++i) {
    const float s = scores[i];
    if (!(s >= least) || !std::isfinite(s)) continue;
    kept_.push_back(
        {static_cast<int32_t>(i),
         std::exp((static_cast<double>(s) - static_cast<double>(top)) / options_.temperature)});
  }
  normalise(kept_);
  if (options_.top_p < 1) {
    keep_nucleus(kept_, options_.top_p);
    normalise(kept_);
  }
  if (options_.min_p > 0) {
    double largest = 0;
    for (const auto& t : kept_) largest = std::max(largest, t.probability);
    std::erase_if(
        kept_, [&](const TokenProbability& t) { return t.probability < options_.min_p * largest; });
    normalise(kept_);
  }
  std::sort(kept_.begin(), kept_.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  return kept_;
}

int32_t Sampler::pick(std::span<const float> logits, std::span<const int32_t> seen, uint64_t step) {
  const auto kept = distribution(logits, seen);
  if (kept.size() == 1) return kept.front().id;
  return draw(kept, uniform(options_, Purpose::draw, step));
}

}  // namespace halftone::runtime
