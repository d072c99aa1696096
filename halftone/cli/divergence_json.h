// What was lost against a reference, as JSON: the same keys in `compare`, `check` and measured.json.
#pragma once

#include "halftone/base/json.h"
#include "halftone/eval/divergence.h"

namespace halftone::cli {

// {kl_,js_}{mean, ci95, median, p90, p99, max}, top1_agreement, top1_ci95, top5_agreement,
// top5_ci95, reference_perplexity, perplexity, perplexity_ratio, its _ci95 and _se (null: one
// window).
Json to_json(const eval::Divergence& divergence);

}  // namespace halftone::cli
