// What a candidate lost against a reference, walked side by side over the same windows: no file of
// logits, two buffers of a few rows.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/eval/bootstrap.h"
#include "halftone/eval/logit_source.h"
#include "halftone/eval/windows.h"

namespace halftone::eval {

struct Divergence {
  double kl_mean = 0;  // KL(reference || candidate), nats per token
  Interval kl_ci95{};
  double kl_median = 0, kl_p90 = 0, kl_p99 = 0, kl_max = 0;
  double top1_agreement = 0;  // share of positions with the same first choice
  Interval top1_ci95{};
  double reference_perplexity = 0, perplexity = 0;
  Interval perplexity_ratio_ci95{};  // of candidate / reference, paired by window
  int64_t positions = 0, windows = 0;
  double seconds = 0;
  std::string protocol;
};

// One row pair: KL in nats (f64 sums over f32 logits, never below 0 but for rounding) and both
// negative log-likelihoods.
struct RowDivergence {
  double kl = 0, reference_nll = 0, nll = 0;
  bool same_top = false;
};
RowDivergence compare_rows(std::span<const float> reference, std::span<const float> candidate,
                           int32_t target);

// One pass of the reference serves all candidates. InputError when vocabularies differ. Progress
// stage "compare", in tokens.
std::vector<Divergence> divergence(LogitSource& reference, std::span<LogitSource* const> candidates,
                                   std::span<const int32_t> ids, const Protocol& protocol,
                                   const Context& context);

}  // namespace halftone::eval
