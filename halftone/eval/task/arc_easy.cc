// ARC-Easy, test: school science questions.
#include "halftone/eval/arc.h"

namespace halftone::eval {

Task arc_easy() { return arc("arc_easy", "ARC-Easy", "acc"); }

}  // namespace halftone::eval
