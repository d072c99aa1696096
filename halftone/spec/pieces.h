// A block cut where a single value of the model's width is alive: an attention piece and an MLP
// piece for most families, one piece where the two run side by side. A piece is a segment like any
// other, so what streams over segments can stream over pieces: each holds fewer weights, and what
// comes before a cut need not be computed again.
#pragma once

#include <vector>

#include "halftone/spec/model_spec.h"

namespace halftone::spec {

// Pieces in order; running them one after another computes `block`, op by op. Every piece holds a
// linear (all of a block without linears is one piece) and is named after what its linears' names
// have in common ("model.layers.3.mlp"), or the block where that says no more.
std::vector<Segment> pieces(const Segment& block, int64_t width);

}  // namespace halftone::spec
