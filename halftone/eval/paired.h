// Is a candidate worse at a task than its reference? Both answered the same items, so what counts is
// where they differ: the change is paired, and far narrower than two separate intervals tell.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "halftone/eval/bootstrap.h"

namespace halftone::eval {

struct PairedChange {
  int64_t n = 0;                    // items
  int64_t lost = 0, won = 0;        // right before and wrong now; wrong before and right now
  double reference = 0, value = 0;  // shares of right answers
  double change = 0;                // value - reference
  std::optional<Interval> ci95;     // of the change, bootstrap over items; two items at least
  double p = 1;                     // exact McNemar (classification.h)
};
// Of the same items, in the same order: was the answer right?
PairedChange paired_change(std::span<const uint8_t> reference, std::span<const uint8_t> candidate);

// p-values as they stand when all of them are looked at (Holm 1979, step-down): in the order given.
std::vector<double> holm(std::span<const double> p);

// "worse", "better", "no difference shown": of a change, by its p-value after holm().
constexpr double kShown = 0.05;
std::string_view verdict(double change, double p_holm);

}  // namespace halftone::eval
