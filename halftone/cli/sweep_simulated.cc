#include "halftone/cli/sweep_simulated.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "halftone/cli/model_text.h"
#include "halftone/eval/divergence.h"

namespace halftone::cli {
namespace {

double reading_speed(eval::LogitSource& source, const std::vector<int32_t>& ids,
                     const eval::Protocol& protocol) {
  const auto start = std::chrono::steady_clock::now();
  for (const eval::Window& w : protocol.windows)
    source.each_row(
        std::span(ids).subspan(static_cast<size_t>(w.begin), static_cast<size_t>(w.end - w.begin)),
        0, [](int64_t, std::span<const float>) {});
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return static_cast<double>(ids.size()) / seconds;
}

}  // namespace

Json simulated_loss(const std::vector<std::string>& models, const std::vector<std::string>& names,
                    const eval::SweepGrid& grid, const std::vector<Json>& reference_samples,
                    const ModelOptions& load, const Session& session) {
  const Context& context = session.context;
  LogitOptions real, torch;
  real.load = load;
  torch.engine = "torch";
  const LogitModel reference = load_logits(models[0], real, session);
  const ModelText text = open_text(reference.packed->checkpoint(), context);
  eval::Protocol protocol{"texts", {}};
  std::vector<int32_t> ids;
  for (int64_t prompt = 0; prompt < std::ssize(grid.prompts); ++prompt) {
    const int64_t per_prompt = grid.size() / std::ssize(grid.prompts);
    const Json& sample = reference_samples[static_cast<size_t>((prompt + 1) * per_prompt - 1)];
    const std::vector<int32_t> whole = text.tokenizer.encode(
        grid.prompts[static_cast<size_t>(prompt)] + sample["text"].get<std::string>());
    const auto begin = std::ssize(ids),
               length = std::min<int64_t>(std::ssize(whole), reference.source->context());
    if (length < 2) continue;
    ids.insert(ids.end(), whole.begin(), whole.begin() + length);
    protocol.windows.push_back({begin, begin + length, begin + 1, static_cast<double>(length - 1)});
  }
  Json rows = Json::array();
  for (size_t m = 0; m < names.size(); ++m) {
    const LogitModel by_kernels = load_logits(models[m], real, session),
                     by_torch = load_logits(models[m], torch, session);
    const std::array<eval::LogitSource*, 2> both = {by_kernels.source.get(), by_torch.source.get()};
    const auto found = eval::divergence(*reference.source, both, ids, protocol, context);
    const auto figures = [&](size_t i) {
      return Json{{"kl", found[i].kl_mean},
                  {"kl_ci95", found[i].kl_ci95},
                  {"perplexity", found[i].perplexity},
                  {"tok_s", reading_speed(*both[i], ids, protocol)}};
    };
    rows.push_back({{"name", names[m]}, {"real", figures(0)}, {"simulated", figures(1)}});
  }
  return {
      {"models", rows},
      {"tokens", ids.size()},
      {"basis", std::to_string(protocol.windows.size()) + " texts, " + std::to_string(ids.size()) +
                    " tokens, that " + names[0] +
                    " wrote at the last length, temperature and top_k; KL to it in nats a token; "
                    "tok/s: reading them, " +
                    std::to_string(context.threads) + " threads"}};
}

}  // namespace halftone::cli
