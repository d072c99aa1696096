// The rounder slot: which code for each weight. One file per rounder in recipe/rounder/.
//
// An entry has two halves. `rounder/gptq.cc` describes it (lean: options, needs, help) and every
// program links that; `rounder/gptq_run.cc` runs it where linear algebra is at hand (the worker). A
// rounder without needs has both halves in the lean program.
#pragma once

#include <functional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/entries.h"
#include "halftone/base/fields.h"
#include "halftone/format/format.h"
#include "halftone/recipe/block_engine.h"

namespace halftone::rounder {

// One linear to round. W is [N, K] f32.
struct Problem {
  std::string name;  // op name, for messages
  const Matrix<float>* weight = nullptr;
  format::Format format;
};

struct Result {
  format::Codes codes;
  // tr((Q-W) H (Q-W)^T) with H as captured (damping taken out), or ||Q-W||^2 when the rounder has
  // no Hessian. nearest_error: plain nearest rounding of the same weights on the same grid rule,
  // groups and clip search.
  double error = 0, nearest_error = 0;
  // The algorithm's own account of what it minimised, tr((Q-W) (H + lambda I) (Q-W)^T): equal to
  // error + lambda ||Q-W||^2 up to rounding, though computed from other numbers. 0 where a method
  // keeps none. (The GPTQ program prints half of it.)
  double damped_loss = 0;
  double damping = 0;          // lambda as a fraction of mean diag(H): what was really used
  int64_t dead_columns = 0;    // inputs that calibration never saw: their weights became 0
  int64_t clamped_scales = 0;  // grids whose scale format.scale_dtype could not hold
  // The inputs are uncorrelated (or there is one), so a method that compensates has nothing to work
  // with: its ratio may be exactly 1. Otherwise a ratio of 1 without a fallback means that the
  // method did nothing.
  bool diagonal_hessian = false;
  bool refitted = false;  // grids given beforehand left a poor result: fitted on the way instead
  std::string fallback;   // why nearest was used instead, empty otherwise

  double ratio() const { return nearest_error > 0 ? error / nearest_error : error > 0 ? 2.0 : 1.0; }
};

// Rounds linears that share one input (q, k, v): the Hessian is factorised once, in place, so
// `statistics` is consumed.
using Run = std::function<std::vector<Result>(std::span<const Problem> problems,
                                              recipe::InputStatistics&& statistics,
                                              const Json& options, const Context& context)>;

struct Entry {
  std::string summary, paper;
  std::set<recipe::Need> needs;
  // Needs that options switch on, beside the above; empty for most. Read both through needs_of().
  std::function<std::set<recipe::Need>(const Json& options)> more_needs;
  std::vector<FieldInfo> options;                    // describe_fields<Options>()
  std::function<Json(const Json& options)> resolve;  // refuses unknown keys, fills in defaults
  // Empty when the rounder can round to `format`, else why not.
  std::function<std::string(const format::Format& format, const Json& options)> clash;
  // Why it will not round an [n, k] linear, with the remedy; empty when it will, or always.
  std::function<std::string(int64_t n, int64_t k, const Json& options)> too_large;
  // Whether groups are formed in another order than the columns' (act_order), so that a packed model
  // holds the group of each column; empty when never.
  std::function<bool(const Json& options)> scatters_groups;
  // of one [n, k] linear, without the shared factorisation; for time estimates
  std::function<double(int64_t n, int64_t k)> flops;
  Run run;  // set here for lean rounders; else from entries_run()
};

// What a rounder with these (resolved) options needs.
std::set<recipe::Need> needs_of(const Entry& entry, const Json& options);

std::span<const Named<Entry>> entries();  // generated from recipe/rounder/*.cc
std::span<const Named<Run>>
entries_run();  // generated from recipe/rounder/*_run.cc, in the worker only

}  // namespace halftone::rounder
