// What a run will need, said before any work.
#pragma once

#include "halftone/recipe/assemble.h"
#include "halftone/recipe/driver.h"
#include "halftone/recipe/schedule.h"

namespace halftone::recipe {

// Floating point operations of a whole run; progress counts in the same units.
double total_flops(const Schedule& schedule, const Recipe& recipe, const Parts& parts);

// Seconds a weight that a rounder without needs takes, from running it on a small random matrix of
// this format.
double measure_rounder(const rounder::Run& run, const Choice& choice, const Context& context);

PlanReport estimate(const QuantizeRequest& request, const Capabilities& can,
                    const Assignment& assignment, const Schedule& schedule,
                    const ChosenLayout& layout, const Context& context);

}  // namespace halftone::recipe
