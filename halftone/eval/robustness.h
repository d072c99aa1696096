// How much a model's answers move under noise, over several draws of it: the drop, and its variance.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/eval/divergence.h"
#include "halftone/eval/score.h"

namespace halftone::eval {

struct Spread {
  double mean = 0;
  std::optional<double> variance;  // of the draws, divisor n - 1; one draw has none
};
Spread spread(std::span<const double> values);

struct Robustness {
  std::vector<double> kl;  // by draw: KL(model || disturbed model), nats per token
  std::vector<double>
      drop;  // by draw: what the mean negative log-likelihood rose by, nats per token
  Spread kl_spread, drop_spread;
  double reference_perplexity = 0;
};

// The model under draw `seed`. Made, walked and destroyed one after the other.
using Disturbed = std::function<std::unique_ptr<LogitSource>(uint64_t seed)>;

struct RobustnessOptions {
  // Draws that a run before has done. `noise` names this run's in it: "weights 0.25".
  RunMemory memory = {};
  std::string noise = {};
  std::function<void()> done = {};  // called after each draw
};

// Walks `model` once a draw, so it should be cheap to walk again (runtime/hidden_states.h). Errors:
// those of divergence().
Robustness robustness(LogitSource& model, const Disturbed& disturbed, int64_t seeds,
                      std::span<const int32_t> ids, const Protocol& protocol,
                      const Context& context, const RobustnessOptions& options = {});

}  // namespace halftone::eval
