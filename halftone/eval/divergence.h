// What a candidate lost against a reference, walked side by side over the same windows: no file of
// logits. Memory: two buffers of rows (rows_per_chunk of eval/rows.h: 16 MB each, or one row), for
// each candidate 96 KB of counts and as much for the window under way, and 64 bytes a window and
// candidate for the bootstrap. None of it grows with the length of the windows.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/eval/bootstrap.h"
#include "halftone/eval/logit_source.h"
#include "halftone/eval/score.h"
#include "halftone/eval/windows.h"

namespace halftone::eval {

struct Divergence {
  double kl_mean = 0;  // KL(reference || candidate), nats per token
  Interval kl_ci95{};
  double kl_median = 0, kl_p90 = 0, kl_p99 = 0, kl_max = 0;
  double js_mean = 0;  // Jensen-Shannon divergence, nats per token, log 2 at most
  Interval js_ci95{};
  double js_median = 0, js_p90 = 0, js_p99 = 0, js_max = 0;
  double top1_agreement = 0;  // share of positions with the same first choice
  Interval top1_ci95{};
  double top5_agreement = 0;  // mean share of the first five choices that both have
  Interval top5_ci95{};
  double reference_perplexity = 0, perplexity = 0;
  double perplexity_ratio = 1;  // candidate / reference, paired by window
  Interval perplexity_ratio_ci95{};
  std::optional<double> perplexity_ratio_se;  // of the same draws; two windows at least
  int64_t positions = 0, windows = 0;
  double seconds = 0;
  std::string protocol;
};

// One row pair: distance() and overlap() of rows.h, and both negative log-likelihoods.
struct RowDivergence {
  double kl = 0, js = 0, reference_nll = 0, nll = 0, top5 = 0;
  bool same_top = false;
};
RowDivergence compare_rows(std::span<const float> reference, std::span<const float> candidate,
                           int32_t target);

struct DivergenceOptions {
  // The last candidate is walked over so many windows only, the first ones: a noise floor needs no
  // narrow interval. 0: over all.
  int64_t last_windows = 0;
  // What is known already, by candidate; empty: nothing, and nothing is kept. Whoever keeps it
  // keeps apart what belongs to another pair of models. A window that all candidates know is not
  // walked.
  std::vector<RunMemory> memory = {};
};

// One pass of the reference serves all candidates. InputError when vocabularies differ. Progress
// stage "compare", in tokens.
std::vector<Divergence> divergence(LogitSource& reference, std::span<LogitSource* const> candidates,
                                   std::span<const int32_t> ids, const Protocol& protocol,
                                   const Context& context, const DivergenceOptions& options = {});

}  // namespace halftone::eval
