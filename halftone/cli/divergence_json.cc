#include "halftone/cli/divergence_json.h"

namespace halftone::cli {

Json to_json(const eval::Divergence& d) {
  return {{"kl_mean", d.kl_mean},
          {"kl_ci95", d.kl_ci95},
          {"kl_median", d.kl_median},
          {"kl_p90", d.kl_p90},
          {"kl_p99", d.kl_p99},
          {"kl_max", d.kl_max},
          {"js_mean", d.js_mean},
          {"js_ci95", d.js_ci95},
          {"js_median", d.js_median},
          {"js_p90", d.js_p90},
          {"js_p99", d.js_p99},
          {"js_max", d.js_max},
          {"top1_agreement", d.top1_agreement},
          {"top1_ci95", d.top1_ci95},
          {"top5_agreement", d.top5_agreement},
          {"top5_ci95", d.top5_ci95},
          {"reference_perplexity", d.reference_perplexity},
          {"perplexity", d.perplexity},
          {"perplexity_ratio", d.perplexity_ratio},
          {"perplexity_ratio_ci95", d.perplexity_ratio_ci95},
          {"perplexity_ratio_se", d.perplexity_ratio_se ? Json(*d.perplexity_ratio_se) : Json()}};
}

}  // namespace halftone::cli
