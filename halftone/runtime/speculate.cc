#include "halftone/runtime/speculate.h"

#include <algorithm>
#include <cmath>

#include "halftone/base/error.h"
#include "halftone/runtime/model.h"

namespace halftone::runtime {
namespace {

constexpr double kRowCost = 0.08;  // of a step, for each row beyond the first: where not measured
constexpr double kMemory = 0.92;   // weight of older acceptances against the next
constexpr int64_t kFirstPause = 16, kLongestPause = 256;  // steps

double probability_of(std::span<const TokenProbability> p, int32_t id) {
  const auto at = std::lower_bound(p.begin(), p.end(), id,
                                   [](const TokenProbability& t, int32_t i) { return t.id < i; });
  return at != p.end() && at->id == id ? at->probability : 0.0;
}

// A running mean that one bad sample (the system had other things to do) does not carry away.
void follow(double& mean, double sample) {
  if (mean == 0)
    mean = sample;
  else
    mean += 0.25 * (std::min(sample, 1.5 * mean) - mean);
}

}  // namespace

void Draft::add(int32_t token, std::span<const TokenProbability> from) {
  if (from_.size() == tokens_.size()) from_.emplace_back();
  from_[tokens_.size()].assign(from.begin(), from.end());
  tokens_.push_back(token);
}

void check_vocabulary(const Drafter& drafter, const Model& model) {
  if (drafter.vocabulary() == 0 || drafter.vocabulary() == model.vocabulary()) return;
  throw Error(Code::mismatch, drafter.label(),
              "drafts from a vocabulary of " + std::to_string(drafter.vocabulary()) + " tokens, " +
                  model.label() + " has " + std::to_string(model.vocabulary()),
              "draft with a model that has the same tokenizer");
}

// ---- verification
std::vector<TokenProbability> residual(std::span<const TokenProbability> p,
                                       std::span<const TokenProbability> q) {
  std::vector<TokenProbability> left;
  double sum = 0;
  for (const TokenProbability& t : p) {
    const double more = t.probability - probability_of(q, t.id);
    if (more <= 0) continue;
    left.push_back({t.id, more});
    sum += more;
  }
  if (left.empty()) return {p.begin(), p.end()};
  for (TokenProbability& t : left) t.probability /= sum;
  return left;
}

Verdict verify(std::span<const TokenProbability> p, std::span<const TokenProbability> q, int32_t x,
               double u_accept, double u_draw) {
  if (u_accept * probability_of(q, x) < probability_of(p, x)) return {x, true};
  return {draw(residual(p, q), u_draw), false};
}

Verdict verify(Sampler& sampler, std::span<const float> logits, std::span<const int32_t> seen,
               int64_t step, const Draft& draft, size_t i) {
  const int32_t x = draft.tokens()[i];
  const auto number = static_cast<uint64_t>(step);
  if (draft.from(i).size() <= 1) {
    const int32_t id = sampler.pick(logits, seen, number);
    return {id, id == x};
  }
  return verify(sampler.distribution(logits, seen), draft.from(i), x,
                uniform(sampler.options(), Purpose::accept, number),
                uniform(sampler.options(), Purpose::draw, number));
}

// ---- how many
DraftControl::DraftControl(const DraftOptions& options, std::optional<double> relative_cost)
    : options_(options),
      timed_(!relative_cost.has_value()),
      draft_cost_(relative_cost.value_or(0)),
      step_cost_(static_cast<size_t>(std::max<int64_t>(options.tokens, 0)) + 2, 0.0),
      pause_(kFirstPause) {
  if (options.tokens < 1)
    throw InputError("draft tokens", "is " + std::to_string(options.tokens) + ", wanted 1 or more");
  if (!timed_) step_cost_[1] = 1;
}

// Known, or on the line through the two nearest known ones; beyond the last, on as it rose so far.
double DraftControl::step_cost(int64_t rows) const {
  const auto at = [&](int64_t n) { return step_cost_[static_cast<size_t>(n)]; };
  if (at(rows) > 0) return at(rows);
  int64_t below = rows - 1, above = rows + 1;
  while (below > 1 && at(below) == 0) --below;
  while (above < std::ssize(step_cost_) && at(above) == 0) ++above;
  if (above < std::ssize(step_cost_))
    return at(below) + (at(above) - at(below)) * static_cast<double>(rows - below) /
                           static_cast<double>(above - below);
  const double slope = below == 1
                           ? kRowCost * at(1)
                           : std::max(0.0, (at(below) - at(1)) / static_cast<double>(below - 1));
  return at(below) + slope * static_cast<double>(rows - below);
}

int64_t DraftControl::choose() {
  if (!options_.adaptive) return options_.tokens;
  if (step_cost_[1] == 0) return 0;  // the first step says what one costs
  if (quiet_ > 0) {
    --quiet_;
    return 0;
  }
  const double a = acceptance();
  int64_t best = 0;
  double best_rate = 1 / step_cost(1), expected = 1, power = 1;
  for (int64_t k = 1; k <= options_.tokens; ++k) {
    power *= a;
    expected += power;
    const double rate = expected / (static_cast<double>(k) * draft_cost_ + step_cost(k + 1));
    if (rate > best_rate) {
      best_rate = rate;
      best = k;
    }
  }
  if (best > 0) {
    pause_ = kFirstPause;
    return best;
  }
  quiet_ = pause_;
  pause_ = std::min(2 * pause_, kLongestPause);
  return std::min<int64_t>(2, options_.tokens);
}

void DraftControl::record(const Round& round) {
  if (timed_) {
    follow(step_cost_[static_cast<size_t>(round.drafted) + 1], round.step_s);
    if (round.drafted > 0) follow(draft_cost_, round.draft_s / static_cast<double>(round.drafted));
  }
  // Tokens after the first that was refused were not tried.
  for (int64_t i = 0; i < std::min(round.drafted, round.accepted + 1); ++i) {
    taken_ = kMemory * taken_ + (i < round.accepted ? 1 : 0);
    tried_ = kMemory * tried_ + 1;
  }
  if (round.drafted > 0 && round.accepted == round.drafted) {  // the text may have changed: go on
    quiet_ = 0;
    pause_ = kFirstPause;
  }
}

// ---- prompt look-up
namespace {

class LookupDrafter final : public Drafter {
 public:
  explicit LookupDrafter(const LookupOptions& options) : options_(options) {}
  std::string label() const override { return "look-up"; }
  void begin(std::span<const int32_t>, const SamplerOptions&) override {}
  void propose(std::span<const int32_t> text, int64_t count, int64_t, Draft& out) override {
    const auto n = std::ssize(text);
    const auto at = [&](int64_t i) { return text[static_cast<size_t>(i)]; };
    int64_t best = options_.shortest - 1, next = 0;
    for (int64_t end = n - 1; end > 0 && best < options_.longest; --end) {
      int64_t length = 0;  // of the match that ends before `end`
      while (length < std::min(end, options_.longest) && at(end - 1 - length) == at(n - 1 - length))
        ++length;
      if (length <= best) continue;
      best = length;
      next = end;
    }
    if (next == 0) return;
    // A match near the end runs into what is being proposed: a period that repeats.
    for (int64_t i = 0; i < count; ++i) {
      const int64_t from = next + i;
      out.add(from < n ? at(from) : out.tokens()[static_cast<size_t>(from - n)], {});
    }
  }

 private:
  LookupOptions options_;
};

class ModelDrafter final : public Drafter {
 public:
  ModelDrafter(std::shared_ptr<const Model> model, const Context& context)
      : session_(std::move(model), {}, context), sampler_(SamplerOptions{}) {}
  std::string label() const override { return session_.model().label(); }
  int64_t vocabulary() const override { return session_.model().vocabulary(); }
  bool draws() const override { return true; }
  double relative_cost(const Model& model) const override {
    return static_cast<double>(session_.model().memory().weights) /
           static_cast<double>(std::max<uint64_t>(model.memory().weights, 1));
  }

  void begin(std::span<const int32_t> text, const SamplerOptions& sampler) override {
    sampler_ = Sampler(sampler);
    follow(text.first(text.empty() ? 0 : text.size() - 1));
  }

  void propose(std::span<const int32_t> text, int64_t count, int64_t step, Draft& out) override {
    text_size_ = std::ssize(text);
    // The last of `count` tokens is not fed.
    count = std::min(count, session_.max_tokens() - text_size_ + 1);
    if (count <= 0) return;
    std::span<const float> logits = follow(text);
    seen_.assign(text.begin(), text.end());
    for (int64_t i = 0; i < count; ++i) {
      const auto from = sampler_.distribution(logits, seen_);
      const int32_t id =
          draw(from, uniform(sampler_.options(), Purpose::draft, static_cast<uint64_t>(step + i)));
      out.add(id, from);
      seen_.push_back(id);
      if (i + 1 < count) logits = feed(std::span(&id, 1));
    }
  }

  void accepted(int64_t count) override { keep(std::min(session_.position(), text_size_ + count)); }

 private:
  void keep(int64_t length) { fed_.resize(static_cast<size_t>(session_.truncate(length))); }
  std::span<const float> feed(std::span<const int32_t> ids) {
    const auto logits = session_.feed(ids);
    fed_.insert(fed_.end(), ids.begin(), ids.end());
    return logits;
  }
  // Brings the session to the end of `text`, keeping what it has of it; the logits there.
  std::span<const float> follow(std::span<const int32_t> text) {
    if (std::ssize(text) > session_.max_tokens()) return {};
    const auto same =
        std::mismatch(fed_.begin(), fed_.end(), text.begin(), text.end()).first - fed_.begin();
    // The logits of the last token are wanted again, even if nothing is new.
    keep(std::min<int64_t>(same, std::max<int64_t>(std::ssize(text) - 1, 0)));
    if (text.empty()) return {};
    return feed(text.subspan(fed_.size()));
  }

  Session session_;
  Sampler sampler_;
  std::vector<int32_t> fed_, seen_;
  int64_t text_size_ = 0;
};

}  // namespace

std::unique_ptr<Drafter> lookup_drafter(const LookupOptions& options) {
  check(options.shortest >= 1 && options.longest >= options.shortest, "a match has a length");
  return std::make_unique<LookupDrafter>(options);
}

std::unique_ptr<Drafter> model_drafter(std::shared_ptr<const Model> model, const Context& context) {
  return std::make_unique<ModelDrafter>(std::move(model), context);
}

}  // namespace halftone::runtime
