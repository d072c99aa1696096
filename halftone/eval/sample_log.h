// One line of --log-samples for tasks made of items: the keys of lm-eval's samples_*.jsonl, and
// `task`, because one file may hold several.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "halftone/base/json.h"
#include "halftone/eval/score.h"

namespace halftone::eval {

struct Sample {
  std::string task;
  int64_t id = 0;  // of the item, in the order of the data
  const Json& doc;
  std::string target;
  std::span<const Request> requests;
  std::span<const Score> scores;  // of the requests
  std::span<const std::pair<std::string, double>> metrics;
  std::string skipped;  // why the item has no metrics; empty otherwise
};
Json sample_line(const Sample& sample);

}  // namespace halftone::eval
