// The reference against itself with keys and values in another dtype: a KL that is not a loss.
// The number of threads changes no bit (runtime/model.h), so it has no floor.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "halftone/base/json.h"
#include "halftone/eval/divergence.h"
#include "halftone/runtime/model.h"

namespace halftone::cli {

struct NoiseFloor {
  std::unique_ptr<eval::LogitSource> source;  // null: not measured
  std::string what;                           // or why it is not
  int64_t windows = 0;                        // the first ones, that it is walked over
};
// Shares the tiles of `reference`: costs a pass over an eighth of `windows`, one at least.
NoiseFloor noise_floor(const runtime::Model& reference, int64_t windows, const Context& context);

// {what, windows, kl_mean, js_mean, top1_agreement, top5_agreement}; the last four null where `d` is.
Json json_of(const NoiseFloor& floor, const eval::Divergence* d);

}  // namespace halftone::cli
