#include "halftone/runtime/generate.h"

#include <algorithm>
#include <chrono>

#include "halftone/base/error.h"

namespace halftone::runtime {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

GenerateResult generate(Session& session, std::span<const int32_t> prompt, const GenerateOptions& options,
                        const std::function<bool(int32_t)>& on_token, std::span<const int32_t> history) {
  if (prompt.empty()) throw InputError("prompt", "has no tokens", "write at least one word");
  Sampler sampler(options.sampler);
  GenerateResult out;
  out.prompt_tokens = static_cast<int64_t>(prompt.size());
  std::vector<int32_t> seen(history.begin(), history.end());
  seen.insert(seen.end(), prompt.begin(), prompt.end());

  const auto start = Clock::now();
  std::span<const float> logits = session.feed(prompt);
  out.prefill_s = seconds_since(start);
  auto first = start;
  for (int64_t i = 0; i < options.max_new_tokens; ++i) {
    const int32_t id = sampler.pick(logits, seen, static_cast<uint64_t>(i));
    if (std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end()) {
      out.reason = Stop::stop_id;
      break;
    }
    out.tokens.push_back(id);
    seen.push_back(id);
    const bool more = !on_token || on_token(id);
    if (i == 0) {
      out.first_token_s = seconds_since(start);
      first = Clock::now();
    }
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

}  // namespace halftone::runtime
