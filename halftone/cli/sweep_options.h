// Options of the generation study, and its grid as they say it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halftone/cli/model_options.h"
#include "halftone/eval/sweep.h"

namespace halftone::cli {

struct SweepOptions {
  std::vector<std::string> models;
  std::string prompts, output, lengths, temperatures, top_ks, shard;
  int64_t samples = 1, batch = 64, speed_samples = 20;
  double cache_gb = 0;
  bool ignore_eos = false, fresh = false, speed_only = false, simulated = false;
  ModelOptions load;
};

// "50:500:50,750": values, and ranges first:last:step with both ends. InputError naming `option`.
std::vector<double> values_of(const char* option, const std::string& text);
std::vector<int64_t> whole_values_of(const char* option, const std::string& text);
// "2/4"; empty: the whole. InputError.
eval::SweepShard shard_of(const std::string& text);

}  // namespace halftone::cli
