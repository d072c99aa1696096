// Perplexity of one source under a named protocol.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/eval/bootstrap.h"
#include "halftone/eval/logit_source.h"
#include "halftone/eval/score.h"
#include "halftone/eval/windows.h"

namespace halftone::eval {

struct Perplexity {
  double perplexity = 0, mean_nll = 0;  // nats per scored token
  Interval ci95{};                      // of the perplexity, over windows
  int64_t tokens = 0;                   // scored
  double seconds = 0;
  std::string protocol;
  std::vector<double> window_nll;  // mean nll of each window
};

// -log softmax(row)[target], in f32 rows, f64 sums. NumericError (of `label`, with the position)
// when a logit is not finite.
double nll(std::span<const float> row, int32_t target, int64_t position,
           std::string_view label = "logits");

// Runs every window but those that `memory` holds. Reports progress as stage "perplexity" in
// tokens; stops between windows.
Perplexity perplexity(LogitSource& source, std::span<const int32_t> ids, const Protocol& protocol,
                      const Context& context, const RunMemory& memory = {});

}  // namespace halftone::eval
