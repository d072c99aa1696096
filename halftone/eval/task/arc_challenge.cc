// ARC-Challenge, test: school science questions that simple methods fail at.
#include "halftone/eval/arc.h"

namespace halftone::eval {

Task arc_challenge() { return arc("arc_challenge", "ARC-Challenge", "acc_norm"); }

}  // namespace halftone::eval
