// Options of obq, read by its description (lean) and by its run (worker).
#pragma once

#include <cstdint>
#include <string>

#include "halftone/base/error.h"

namespace halftone::rounder {

struct ObqOptions {
  std::string order = "greedy";
  double damping = 0;
  int64_t max_columns = 1024;
  bool static_groups = false, nearest_if_worse = true;
};

void fields(auto& visit, ObqOptions& o) {
  visit("order", o.order,
        "greedy: each row takes the weight that costs least next; natural or act_order: the "
        "columns of all rows in that order, which is GPTQ");
  visit("damping", o.damping,
        "lambda as a fraction of mean diag(H); the Hessian must be invertible without it, else "
        "0.0001 and ten times more");
  visit("max_columns", o.max_columns, "refuse wider layers: the work grows with rows x columns^3");
  visit("static_groups", o.static_groups,
        "grids of groups come from the weights before any update (always so when greedy)");
  visit("nearest_if_worse", o.nearest_if_worse,
        "use nearest rounding for a layer where it has the smaller error");
}

inline void validate(const ObqOptions& o, const std::string& subject) {
  if (o.order != "greedy" && o.order != "natural" && o.order != "act_order")
    throw InputError(subject, "order is " + quote(o.order), "known: greedy, natural, act_order");
  if (!(o.damping >= 0 && o.damping <= 1))
    throw InputError(subject, "damping is " + std::to_string(o.damping),
                     "it is a fraction of the mean diagonal: 0 is usual, 1 the most");
  if (o.max_columns < 1)
    throw InputError(subject, "max_columns is " + std::to_string(o.max_columns), "1024 is usual");
}

// Empty where `columns` are few enough.
inline std::string too_wide(const ObqOptions& o, int64_t columns) {
  if (columns <= o.max_columns) return {};
  return "obq takes rows x columns^3 steps, and " + std::to_string(columns) +
         " columns are above max_columns " + std::to_string(o.max_columns) +
         "; use gptq, or raise max_columns";
}

}  // namespace halftone::rounder
