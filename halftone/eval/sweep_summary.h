// What the samples of a sweep say: means by temperature, top_k and length, cells that must be
// identical, and differences to a reference model at the same seeds.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "halftone/eval/sweep.h"

namespace halftone::eval {

struct SweepMeasure {
  std::string key;    // of a sample's line
  std::string title;  // "duplicates per content word"
};
std::span<const SweepMeasure> sweep_measures();

// One model. `samples` by index, null where missing; those without a value of a measure (null in
// their line) are left out of its mean and counted.
//   samples, missing, clamped, stops {length, stop, "context full"}, tokens,
//   mean {MEASURE: {mean, ci95 (bootstrap over prompts), samples, without}},
//   by_temperature, by_top_k, by_length  {MEASURE: [mean of each value]},
//   temperature_top_k, length_temperature, length_top_k  {MEASURE: [row by the first][by the second]},
//   by_length_temperature_top_k  {the first measure: [such a plane of each length]},
//   identical {groups, samples, differing: [first index of each group that is not],
//              cells: [{prompt (its index), length} of each group]}
Json sweep_summary(const SweepGrid& grid, const std::vector<Json>& samples);

// Of `model` to `reference`, over the points that both have: {MEASURE: {mean, ci95}, same_text:
// share of equal texts}. Pairs without a value on one side are left out.
Json sweep_difference(const SweepGrid& grid, const std::vector<Json>& reference,
                      const std::vector<Json>& model);

}  // namespace halftone::eval
