// The rounder slot: which code for each weight. One file per rounder in recipe/rounder/.
//
// An entry has two halves. `rounder/gptq.cc` describes it (lean: options, needs, help) and every program links that; `rounder/gptq_run.cc`
// runs it where linear algebra is at hand (the worker). A rounder without needs has both halves in the lean program.
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
  std::string name;               // op name, for messages
  const Matrix<float>* weight = nullptr;
  format::Format format;
};

struct Result {
  format::Codes codes;
  // tr((Q-W) H (Q-W)^T) with H as captured (damping taken out), or ||Q-W||^2 when the rounder has no Hessian.
  double error = 0, nearest_error = 0;   // ratio = error / nearest_error; nearest on the same grid rule
  double damping = 0;                    // fraction of mean diag(H) that was really used
  int64_t dead_columns = 0;
  std::string fallback;                  // why nearest was used instead, empty otherwise
};

// Rounds linears that share one input (q, k, v): the Hessian is factorised once, in place, so `statistics` is consumed.
using Run = std::function<std::vector<Result>(std::span<const Problem> problems, recipe::InputStatistics statistics,
                                              const Json& options, const Context& context)>;

struct Entry {
  std::string summary, paper;
  std::set<recipe::Need> needs;
  std::vector<FieldInfo> options;                           // describe_fields<Options>()
  std::function<Json(const Json& options)> resolve;         // refuses unknown keys, fills in defaults
  // Empty when the rounder can round to `format`, else why not.
  std::function<std::string(const format::Format& format, const Json& options)> clash;
  Run run;                                                  // set here for lean rounders; else from entries_run()
};

std::span<const Named<Entry>> entries();   // generated from recipe/rounder/*.cc
std::span<const Named<Run>> entries_run(); // generated from recipe/rounder/*_run.cc, in the worker only

}  // namespace halftone::rounder
