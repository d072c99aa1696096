// The grid of a sweep as its options say it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "halftone/eval/sweep.h"

namespace halftone::cli {

// "50:500:50,750": values, and ranges first:last:step with both ends. InputError naming `option`.
std::vector<double> values_of(const char* option, const std::string& text);
std::vector<int64_t> whole_values_of(const char* option, const std::string& text);
// "2/4"; empty: the whole. InputError.
eval::SweepShard shard_of(const std::string& text);

}  // namespace halftone::cli
