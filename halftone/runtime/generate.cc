#include "halftone/runtime/generate.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include "halftone/base/error.h"
#include "halftone/runtime/batch.h"

namespace halftone::runtime {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What `f` gives; its NumericError names the model.
template <class F>
auto naming(const Model& model, const F& f) {
  try {
    return f();
  } catch (const NumericError& e) {
    throw NumericError(model.label(), e.fact(),
                       "its weights are damaged or overflow: --mode exact tells which");
  }
}

}  // namespace

std::string_view stop_name(Stop stop) {
  switch (stop) {
    case Stop::stop_id:
      return "stop";
    case Stop::length:
      return "length";
    case Stop::full:
      return "context full";
    case Stop::callback:
      return "interrupted";
  }
  return "";
}

int32_t pick_token(Sampler& sampler, const Model& model, std::span<const float> logits,
                   std::span<const int32_t> seen, int64_t step) {
  return naming(model, [&] { return sampler.pick(logits, seen, static_cast<uint64_t>(step)); });
}

bool stops(const GenerateOptions& options, int32_t id) {
  return std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end();
}

GenerateResult generate(Session& session, std::span<const int32_t> prompt,
                        const GenerateOptions& options,
                        const std::function<bool(int32_t)>& on_token,
                        std::span<const int32_t> history) {
  if (prompt.empty()) throw InputError("prompt", "has no tokens", "write at least one word");
  Sampler sampler(options.sampler);
  GenerateResult out;
  out.prompt_tokens = static_cast<int64_t>(prompt.size());
  const auto most =
      static_cast<size_t>(std::clamp<int64_t>(options.max_new_tokens, 0, session.max_tokens()));
  std::vector<int32_t> seen;
  seen.reserve(history.size() + prompt.size() + most);
  out.tokens.reserve(most);
  seen.insert(seen.end(), history.begin(), history.end());
  seen.insert(seen.end(), prompt.begin(), prompt.end());

  const Model& model = session.model();
  Drafter* const drafter = options.drafter;
  std::optional<DraftControl> control;
  Draft draft;
  std::vector<int32_t> feeding;
  std::vector<float> rows;
  const auto vocabulary = static_cast<size_t>(model.vocabulary());
  if (drafter != nullptr) {
    check_vocabulary(*drafter, model);
    // Timings may choose how much is drafted only where that cannot change the text.
    const bool exact_text = !drafter->draws() || options.sampler.temperature == 0;
    control.emplace(options.draft,
                    exact_text ? std::nullopt : std::optional(drafter->relative_cost(model)));
    feeding.reserve(static_cast<size_t>(control->most()) + 1);
    rows.reserve((static_cast<size_t>(control->most()) + 1) * vocabulary);
  }

  const auto start = Clock::now();
  std::span<const float> logits = session.feed(prompt);
  if (drafter != nullptr) drafter->begin(seen, options.sampler);
  out.prefill_s = seconds_since(start);
  // The session holds this much beside the new tokens that were fed.
  const int64_t base = session.position();
  auto first = start;
  double step_s = 0, draft_s = 0;
  bool more = options.max_new_tokens > 0;
  const auto finish = [&](Stop reason) {
    out.reason = reason;
    more = false;
  };
  while (more) {
    // `logits` holds a row after the last token of `seen`, and one after each drafted one.
    const auto drafted = static_cast<size_t>(draft.size());
    size_t accepted = 0;
    for (size_t row = 0; more && row <= accepted; ++row) {
      const auto here = logits.subspan(row * vocabulary, vocabulary);
      const int64_t step = std::ssize(out.tokens);
      int32_t id = 0;
      if (row < drafted) {
        const Verdict v =
            naming(model, [&] { return verify(sampler, here, seen, step, draft, row); });
        id = v.token;
        accepted += v.accepted ? 1 : 0;
      } else {
        id = pick_token(sampler, model, here, seen, step);
      }
      if (out.steps > 0) ++out.decoded;
      if (stops(options, id)) {
        finish(Stop::stop_id);
        break;
      }
      out.tokens.push_back(id);
      seen.push_back(id);
      const bool wanted = !on_token || on_token(id);
      if (out.tokens.size() == 1) first = Clock::now();
      if (!wanted)
        finish(Stop::callback);
      else if (std::ssize(out.tokens) == options.max_new_tokens)
        finish(Stop::length);
      else if (base + std::ssize(out.tokens) > session.max_tokens())
        finish(Stop::full);
    }
    if (drafter != nullptr && out.steps > 0) {
      out.drafted += draft.size();
      out.accepted += static_cast<int64_t>(accepted);
      control->record({.drafted = draft.size(),
                       .accepted = static_cast<int64_t>(accepted),
                       .step_s = step_s,
                       .draft_s = draft_s});
      if (draft.size() > 0) drafter->accepted(static_cast<int64_t>(accepted));
    }
    // What was fed and then not taken is forgotten; the last token is not fed yet.
    const int64_t kept = base + std::ssize(out.tokens) - (out.reason == Stop::stop_id ? 0 : 1);
    if (kept < session.position()) {
      const int64_t position = session.truncate(kept);
      check(position == kept, "tokens of the last step can be taken back");
    }
    if (!more) break;

    draft.clear();
    if (drafter != nullptr) {
      const auto draft_start = Clock::now();
      const int64_t room =
          std::min({options.max_new_tokens - std::ssize(out.tokens) - 1,
                    session.max_tokens() - session.position() - 1, session.chunk() - 1});
      const int64_t count = std::min(control->choose(), room);
      if (count > 0) drafter->propose(seen, count, std::ssize(out.tokens), draft);
      draft_s = seconds_since(draft_start);
    }
    const auto step_start = Clock::now();
    if (draft.size() == 0) {
      logits = session.feed(std::span(&seen.back(), 1));
    } else {
      feeding.assign(1, seen.back());
      feeding.insert(feeding.end(), draft.tokens().begin(), draft.tokens().end());
      session.advance(feeding);
      rows.resize(feeding.size() * vocabulary);
      session.logits(0, std::ssize(feeding), rows);
      logits = rows;
    }
    step_s = seconds_since(step_start);
    ++out.steps;
  }
  if (!out.tokens.empty()) out.decode_s = seconds_since(first);
  return out;
}

std::vector<std::vector<int32_t>> sample_texts(const std::shared_ptr<const Model>& model,
                                               int32_t first, int64_t samples, int64_t length,
                                               const SamplerOptions& sampler,
                                               const Context& context) {
  constexpr uint64_t kCacheBytes = uint64_t{256} << 20;
  std::vector<std::vector<int32_t>> out(static_cast<size_t>(samples), {first});
  if (length <= 1) return out;
  const Session one(model, {.max_tokens = length}, context);
  if (length - 1 > one.max_tokens())
    throw InputError("tokens",
                     "texts of " + std::to_string(length) + " tokens do not fit the context of " +
                         std::to_string(one.max_tokens()),
                     "ask for shorter ones");
  Batch batch(model,
              {.sequences = std::clamp<int64_t>(samples, 1, 32),
               .max_tokens = length,
               .cache_bytes = std::max(kCacheBytes, one.cache_bytes_for(length))},
              context);
  for (int64_t s = 0; s < samples; ++s) {
    Request request{.prompt = {first},
                    .options = {.max_new_tokens = length - 1, .sampler = sampler, .stop_ids = {}}};
    request.options.sampler.stream = static_cast<uint32_t>(s);
    batch.add(std::move(request));
  }
  double done = 0;
  while (!batch.idle()) {
    for (const Event& e : batch.step()) {
      if (e.kind != Event::Kind::token) continue;
      out[static_cast<size_t>(e.id)].push_back(e.token);
      ++done;
    }
    context.progress({"sample text", "", done, static_cast<double>(samples * (length - 1)), "tok"});
  }
  return out;
}

}  // namespace halftone::runtime
