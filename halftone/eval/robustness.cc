#include "halftone/eval/robustness.h"

#include <array>
#include <cmath>

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
                      const Context& context, const std::function<void()>& done) {
  Context quiet = context;
  quiet.progress = [](const Progress&) {};
  Robustness out;
  for (int64_t seed = 0; seed < seeds; ++seed) {
    const auto source = disturbed(static_cast<uint64_t>(seed));
    const std::array<LogitSource*, 1> candidates = {source.get()};
    const Divergence d = divergence(model, candidates, ids, protocol, quiet)[0];
    out.kl.push_back(d.kl_mean);
    out.drop.push_back(std::log(d.perplexity / d.reference_perplexity));
    out.reference_perplexity = d.reference_perplexity;
    if (done) done();
  }
  out.kl_spread = spread(out.kl);
  out.drop_spread = spread(out.drop);
  return out;
}

}  // namespace halftone::eval
