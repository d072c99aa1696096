#include "halftone/eval/robustness.h"

#include <array>
#include <cmath>
#include <limits>
#include <string>

namespace halftone::eval {

Spread spread(std::span<const double> values) {
  Spread out;
  if (values.empty()) return out;
  const auto n = static_cast<double>(values.size());
  for (const double v : values) out.mean += v / n;
  if (values.size() < 2) return out;
  double sum = 0;
  for (const double v : values) sum += (v - out.mean) * (v - out.mean);
  out.variance = sum / (n - 1);
  return out;
}

Robustness robustness(LogitSource& model, const Disturbed& disturbed, int64_t seeds,
                      std::span<const int32_t> ids, const Protocol& protocol,
                      const Context& context, const RobustnessOptions& options) {
  Context quiet = context;
  quiet.progress = [](const Progress&) {};
  Robustness out;
  for (int64_t seed = 0; seed < seeds; ++seed) {
    const uint64_t key =
        memory_key(options.noise + ", draw " + std::to_string(seed) + ", " +
                       std::to_string(protocol.windows.size()) + " windows of " + protocol.name,
                   ids, 0);
    const Json found = remembered(options.memory, key, [&]() -> Json {
      const auto source = disturbed(static_cast<uint64_t>(seed));
      const std::array<LogitSource*, 1> candidates = {source.get()};
      const Divergence d = divergence(model, candidates, ids, protocol, quiet)[0];
      return {d.kl_mean, std::log(d.perplexity / d.reference_perplexity), d.reference_perplexity};
    });
    out.kl.push_back(found.at(0).get<double>());
    // a perplexity past what a double holds is infinite, which JSON writes as null
    out.drop.push_back(found.at(1).is_null() ? std::numeric_limits<double>::infinity()
                                             : found.at(1).get<double>());
    out.reference_perplexity = found.at(2).get<double>();
    if (options.done) options.done();
  }
  out.kl_spread = spread(out.kl);
  out.drop_spread = spread(out.drop);
  return out;
}

}  // namespace halftone::eval
