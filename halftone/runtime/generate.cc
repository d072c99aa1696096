#include "halftone/runtime/generate.h"

#include <algorithm>
#include <chrono>

#include "halftone/base/error.h"
#include "halftone/runtime/program.h"

namespace halftone::runtime {
namespace {

using Clock = std::chrono::steady_clock;
double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

GenerateResult generate(Session& session, std::span<const int32_t> prompt,
                        const GenerateOptions& options,
                        const std::function<bool(int32_t)>& on_token,
                        std::span<const int32_t> history) {
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
    const int32_t id = [&] {
      try {
        return sampler.pick(logits, seen, static_cast<uint64_t>(i));
      } catch (const NumericError& e) {
        throw NumericError(session.model().label(), e.fact(),
                           "its weights are damaged or overflow: --mode exact tells which");
      }
    }();
    if (std::find(options.stop_ids.begin(), options.stop_ids.end(), id) != options.stop_ids.end()) {
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
  constexpr int64_t kCacheBytes = int64_t{256} << 20;
  int64_t token_bytes = 1;
  for (const KvShape& layer : model->program().layers)
    token_bytes += 2 * layer.heads * layer.dim * static_cast<int64_t>(sizeof(float));
  const int64_t together = std::clamp<int64_t>(kCacheBytes / (token_bytes * length), 1, 32);
  const auto vocabulary = static_cast<size_t>(model->vocabulary());
  std::vector<std::vector<int32_t>> out;
  double done = 0;
  while (std::ssize(out) < samples) {
    const int64_t begin = std::ssize(out), n = std::min(together, samples - begin);
    Session session(model, {.max_tokens = length, .sequences = n}, context);
    std::vector<Sampler> samplers;
    for (int64_t s = 0; s < n; ++s) {
      SamplerOptions mine = sampler;
      mine.stream = static_cast<uint32_t>(begin + s);
      samplers.emplace_back(mine);
      out.push_back({first});
    }
    std::vector<int32_t> last(static_cast<size_t>(n), first);
    std::vector<float> rows(static_cast<size_t>(n) * vocabulary);
    for (int64_t t = 1; t < length; ++t) {
      context.throw_if_stopped();
      session.advance_each(last);
      session.logits(0, n, rows);
      for (size_t s = 0; s < static_cast<size_t>(n); ++s) {
        std::vector<int32_t>& text = out[static_cast<size_t>(begin) + s];
        last[s] = samplers[s].pick(std::span(rows).subspan(s * vocabulary, vocabulary), text,
                                   static_cast<uint64_t>(t - 1));
        text.push_back(last[s]);
      }
      done += static_cast<double>(n);
      context.progress(
          {"sample text", "", done, static_cast<double>(samples * (length - 1)), "tok"});
    }
  }
  return out;
}

}  // namespace halftone::runtime
