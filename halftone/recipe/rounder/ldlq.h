// Options of ldlq, read by its description (lean) and by its run (worker).
#pragma once

#include <string>

#include "halftone/base/error.h"

namespace halftone::rounder {

struct LdlqOptions {
  double damping = 0.01;
  bool reverse = false, act_order = false, static_groups = false, nearest_if_worse = true;
};

void fields(auto& visit, LdlqOptions& o) {
  visit("damping", o.damping,
        "lambda as a fraction of mean diag(H); ten times more after each failed factorisation, "
        "five times");
  visit("reverse", o.reverse, "from the last column to the first, as the QuIP program does");
  visit("act_order", o.act_order,
        "columns with the largest inputs first; groups follow that order, so they are scattered");
  visit("static_groups", o.static_groups,
        "groups keep their place and their grids come from the weights before any update");
  visit("nearest_if_worse", o.nearest_if_worse,
        "use nearest rounding for a layer where it has the smaller error");
}

inline void validate(const LdlqOptions& o, const std::string& subject) {
  if (!(o.damping >= 0 && o.damping <= 1))
    throw InputError(subject, "damping is " + std::to_string(o.damping),
                     "it is a fraction of the mean diagonal: 0.01 is usual, 1 the most");
  if (o.reverse && o.act_order)
    throw InputError(subject, "reverse and act_order contradict each other",
                     "leave one of them out");
}

}  // namespace halftone::rounder
