#include "halftone/runtime/batch.h"

#include <algorithm>
#include <string>

#include "halftone/base/error.h"
#include "halftone/base/memory.h"
#include "halftone/base/threads.h"

namespace halftone::runtime {

// A request that holds a sequence of the session.
struct Batch::Running {
  int64_t id, slot;
  uint64_t promised;
  GenerateOptions options;
  Sampler sampler;
  std::vector<int32_t> seen;  // prompt, then the new tokens
  int64_t prompt_tokens;
  int64_t fed = 0, feeding = 0;  // tokens of `seen` in the cache; of them in the step under way
  int32_t picked = 0;
  bool leaving = false;

  Running(Waiting waiting, int64_t slot_, uint64_t promised_, int64_t longest)
      : id(waiting.id),
        slot(slot_),
        promised(promised_),
        options(std::move(waiting.request.options)),
        sampler(options.sampler),
        seen(std::move(waiting.request.prompt)),
        prompt_tokens(std::ssize(seen)) {
    seen.reserve(static_cast<size_t>(longest) + 1);  // the last token is not fed
  }
  int64_t unfed() const { return std::ssize(seen) - fed; }
};

Batch::Batch(std::shared_ptr<const Model> model, const BatchOptions& options,
             const Context& context)
    : context_(context),
      session_(std::move(model),
               {.max_tokens = options.max_tokens,
                .chunk = std::max(options.rows, options.sequences),
                .sequences = options.sequences},
               context),
      rows_limit_(std::max(std::min(options.rows, session_.chunk()), options.sequences)),
      cache_limit_(options.cache_bytes),
      slot_taken_(static_cast<size_t>(options.sequences), 0) {
  if (cache_limit_ == 0) cache_limit_ = available_memory_bytes() / 2;
  if (cache_limit_ == 0) cache_limit_ = uint64_t{1} << 30;  // the system did not say
}

Batch::~Batch() = default;

namespace {
// Tokens that a request can come to hold in its cache.
int64_t longest_text(const Request& request, int64_t max_tokens) {
  const auto prompt = std::ssize(request.prompt);
  return request.options.max_new_tokens < max_tokens - prompt
             ? prompt + std::max<int64_t>(request.options.max_new_tokens - 1, 0)
             : max_tokens;
}
}  // namespace

uint64_t Batch::wanted_bytes(const Request& request) const {
  return session_.cache_bytes_for(longest_text(request, session_.max_tokens()));
}

int64_t Batch::add(Request request) {
  validate(request.options.sampler);
  session_.check_prompt(request.prompt);
  if (wanted_bytes(request) > cache_limit_) {
    const auto megabytes = [](uint64_t bytes) { return std::to_string(bytes / 1000000) + " MB"; };
    throw Error(Code::budget, "prompt",
                "keys and values of " +
                    std::to_string(longest_text(request, session_.max_tokens())) + " tokens take " +
                    megabytes(wanted_bytes(request)) + ", the limit for all texts together is " +
                    megabytes(cache_limit_),
                "ask for fewer new tokens, or allow more memory");
  }
  waiting_.push_back({next_id_, std::move(request)});
  return next_id_++;
}

// A free sequence, with as much memory as is already there and of use; memory of the others that
// rest is given back as far as the limit demands.
int64_t Batch::take_slot(uint64_t bytes) {
  int64_t best = -1;
  uint64_t best_held = 0, resting = 0;
  for (int64_t s = 0; s < session_.sequences(); ++s) {
    if (slot_taken_[static_cast<size_t>(s)]) continue;
    const uint64_t held = session_.cache_bytes(s);
    resting += held;
    const bool fits = held <= bytes, best_fits = best_held <= bytes;
    if (best < 0 || (fits ? !best_fits || held > best_held : !best_fits && held < best_held)) {
      best = s;
      best_held = held;
    }
  }
  check(best >= 0, "a request is let in when a sequence is free");
  session_.truncate(0, best);
  resting -= best_held;
  if (best_held > bytes) session_.release(best);
  for (int64_t s = 0; s < session_.sequences() && cache_promised_ + bytes + resting > cache_limit_;
       ++s) {
    if (slot_taken_[static_cast<size_t>(s)] || s == best) continue;
    resting -= session_.cache_bytes(s);
    session_.release(s);
  }
  slot_taken_[static_cast<size_t>(best)] = 1;
  return best;
}

void Batch::let_in() {
  while (!waiting_.empty() && running() < session_.sequences()) {
    Waiting& next = waiting_.front();
    const uint64_t bytes = wanted_bytes(next.request);
    if (cache_promised_ + bytes > cache_limit_) break;
    const int64_t slot = take_slot(bytes);
    const int64_t longest = longest_text(next.request, session_.max_tokens());
    auto joining = std::make_unique<Running>(std::move(next), slot, bytes, longest);
    begin_like_another(*joining);
    running_.push_back(std::move(joining));
    cache_promised_ += bytes;
    waiting_.pop_front();
  }
}

// Takes over what one that runs has read of the same beginning. The last token of the prompt is
// left to be fed: its logits are wanted.
void Batch::begin_like_another(Running& joining) {
  constexpr int64_t kWorthIt = 8;  // tokens; a block of cache is copied for them
  const Running* best = nullptr;
  int64_t longest = kWorthIt - 1;
  for (const auto& other : running_) {
    const auto most = joining.seen.begin() + std::min(other->fed, joining.prompt_tokens - 1);
    const int64_t common =
        std::mismatch(joining.seen.begin(), most, other->seen.begin()).first - joining.seen.begin();
    if (common <= longest) continue;
    longest = common;
    best = other.get();
  }
  if (best == nullptr) return;
  session_.fork(best->slot, longest, joining.slot);
  joining.fed = session_.position(joining.slot);
}

void Batch::leave(size_t i) {
  slot_taken_[static_cast<size_t>(running_[i]->slot)] = 0;
  cache_promised_ -= running_[i]->promised;
  running_.erase(running_.begin() + static_cast<std::ptrdiff_t>(i));
}

bool Batch::cancel(int64_t id) {
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_[i]->id != id) continue;
    leave(i);
    return true;
  }
  return std::erase_if(waiting_, [&](const Waiting& w) { return w.id == id; }) > 0;
}

// Who takes part in the step, with how many tokens: those that decode first.
void Batch::plan_rows() {
  parts_.clear();
  picking_.clear();
  rows_.clear();
  int64_t rows = 0;
  for (const bool decoding : {true, false}) {
    for (const auto& r : running_) {
      if ((r->fed >= r->prompt_tokens) != decoding) continue;
      r->feeding = std::min(r->unfed(), rows_limit_ - rows);
      if (r->feeding == 0) continue;
      parts_.push_back({.sequence = r->slot,
                        .ids = std::span<const int32_t>(r->seen).subspan(
                            static_cast<size_t>(r->fed), static_cast<size_t>(r->feeding))});
      rows += r->feeding;
      if (r->feeding < r->unfed()) continue;
      picking_.push_back(r.get());
      rows_.push_back(rows - 1);
    }
  }
}

// The next token of everyone whose logits there are. Each has a sampler of its own, so they go
// over the threads.
void Batch::pick_tokens() {
  const auto vocabulary = static_cast<size_t>(session_.model().vocabulary());
  if (picking_.empty()) return;
  logits_.resize(std::max(logits_.size(), picking_.size() * vocabulary));
  session_.logits(rows_, logits_);
  context_.pool->each(std::ssize(picking_), [&](int64_t i) {
    Running& r = *picking_[static_cast<size_t>(i)];
    r.picked = pick_token(
        r.sampler, session_.model(),
        std::span<const float>(logits_).subspan(static_cast<size_t>(i) * vocabulary, vocabulary),
        r.seen, std::ssize(r.seen) - r.prompt_tokens);
  });
}

std::span<const Event> Batch::step() {
  events_.clear();
  let_in();
  if (running_.empty()) return events_;
  plan_rows();
  session_.advance(parts_);
  for (const auto& r : running_) {
    rows_done_ += r->feeding;
    r->fed += std::exchange(r->feeding, 0);
  }
  pick_tokens();
  const auto finish = [&](Running& r, Stop reason) {
    events_.push_back({.id = r.id, .kind = Event::Kind::finished, .token = 0, .reason = reason});
    r.leaving = true;
  };
  for (Running* r : picking_) {
    if (r->options.max_new_tokens <= 0) {
      finish(*r, Stop::length);
      continue;
    }
    if (stops(r->options, r->picked)) {
      finish(*r, Stop::stop_id);
      continue;
    }
    r->seen.push_back(r->picked);
    events_.push_back({.id = r->id, .kind = Event::Kind::token, .token = r->picked});
    if (std::ssize(r->seen) - r->prompt_tokens == r->options.max_new_tokens)
      finish(*r, Stop::length);
    else if (session_.position(r->slot) == session_.max_tokens())
      finish(*r, Stop::full);
  }
  for (size_t i = running_.size(); i-- > 0;)
    if (running_[i]->leaving) leave(i);
  return events_;
}

}  // namespace halftone::runtime
