#include "halftone/runtime/generate.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "halftone/base/error.h"
#include "halftone/runtime/batch.h"

namespace halftone::runtime {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

int32_t pick_token(Sampler& sampler, const Model& model, std::span<const float> logits,
                   std::span<const int32_t> seen, int64_t step) {
  try {
    return sampler.pick(logits, seen, static_cast<uint64_t>(step));
  } catch (const NumericError& e) {
    throw NumericError(model.label(), e.fact(),
                       "its weights are damaged or overflow: --mode exact tells which");
  }
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
  const auto most = static_cast<size_t>(std::min(options.max_new_tokens, session.max_tokens()));
  std::vector<int32_t> seen;
  seen.reserve(history.size() + prompt.size() + most);
  out.tokens.reserve(most);
  seen.insert(seen.end(), history.begin(), history.end());
  seen.insert(seen.end(), prompt.begin(), prompt.end());

  const auto start = Clock::now();
  std::span<const float> logits = session.feed(prompt);
  out.prefill_s = seconds_since(start);
  auto first = start;
  for (int64_t i = 0; i < options.max_new_tokens; ++i) {
    const int32_t id = pick_token(sampler, session.model(), logits, seen, i);
    if (stops(options, id)) {
      out.reason = Stop::stop_id;
      break;
    }
    out.tokens.push_back(id);
    seen.push_back(id);
    const bool more = !on_token || on_token(id);
    if (i == 0) first = Clock::now();
    if (!more) {
      out.reason = Stop::callback;
      break;
    }
    if (i + 1 == options.max_new_tokens) break;
    if (session.position() == session.max_tokens()) {
      out.reason = Stop::full;
      break;
    }
    logits = session.feed(std::span(&id, 1));
    ++out.decoded;
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
