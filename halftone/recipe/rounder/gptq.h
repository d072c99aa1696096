// Options of gptq, read by its description (lean) and by its run (worker).
#pragma once

#include <cstdint>
#include <string>

#include "halftone/base/error.h"

namespace halftone::rounder {

struct GptqOptions {
  int64_t block = 128;
  double damping = 0.01, refit_above = 0;
  bool act_order = false, static_groups = false, act_group_aware = false, stale_grids = false,
       nearest_if_worse = true;
};

void fields(auto& visit, GptqOptions& o) {
  visit("block", o.block, "columns updated together (B)");
  visit("damping", o.damping,
        "lambda as a fraction of mean diag(H); ten times more after each failed factorisation, "
        "five times");
  visit("act_order", o.act_order,
        "columns with the largest inputs first; groups follow that order, so they are scattered");
  // Where a format has no groups the next three have nothing to do.
  visit("static_groups", o.static_groups,
        "groups keep their place and their grids come from the weights before any update");
  visit("act_group_aware", o.act_group_aware,
        "largest inputs first inside each group and group by group: groups keep their place");
  visit("stale_grids", o.stale_grids,
        "fit a group's grid on weights without the updates of the current block, as the reference "
        "program does");
  visit("nearest_if_worse", o.nearest_if_worse,
        "use nearest rounding for a layer where it has the smaller error");
  visit("refit_above", o.refit_above,
        "static_groups: a layer with more than this share of nearest's error is rounded again with "
        "act_group_aware and grids fitted on the way, and the better result kept; 0 = never");
}

inline void check_damping(double damping, const std::string& subject) {
  if (!(damping >= 0 && damping <= 1))
    throw InputError(subject, "damping is " + std::to_string(damping),
                     "it is a fraction of the mean diagonal: 0.01 is usual, 1 the most");
}

inline void validate(const GptqOptions& o, const std::string& subject) {
  if (o.block < 1)
    throw InputError(subject, "block is " + std::to_string(o.block), "128 is usual, 1 the least");
  check_damping(o.damping, subject);
  if (o.act_order && o.act_group_aware)
    throw InputError(subject, "act_order and act_group_aware contradict each other",
                     "leave one of them out");
  if (!(o.refit_above >= 0 && o.refit_above <= 1))
    throw InputError(subject, "refit_above is " + std::to_string(o.refit_above),
                     "it is a share of nearest's error: 0 to 1");
  if (o.refit_above > 0 && !o.static_groups)
    throw InputError(subject, "refit_above without static_groups does nothing",
                     "leave one of them out, or set static_groups");
  if (o.static_groups && o.stale_grids)
    throw InputError(subject, "static_groups and stale_grids contradict each other",
                     "leave one of them out");
}

}  // namespace halftone::rounder
