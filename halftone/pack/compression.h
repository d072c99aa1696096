// How much smaller a model is, in the three ways that papers count it. They differ, so each carries
// its name.
#pragma once

#include <cstdint>

#include "halftone/pack/packed_model.h"

namespace halftone::pack {

// Bits of a weight on average. The ratio of each is 32 / bits: "against f32".
struct Compression {
  double nominal = 0;     // codes alone, linears weighted by their parameters (DSA-QAT's formula 8)
  double effective = 0;   // all bytes of all tensors: scales, zeros, floats, padding
  double layer_mean = 0;  // codes alone, every linear counting alike, however small it is
};
inline double ratio_to_f32(double bits) { return bits > 0 ? 32 / bits : 0; }

// A linear that is not quantized counts with the bits it is stored in (a block of a GGUF file with
// its scales); a head tied to the embedding is a linear like any other.
Compression compression(const PackedModel& model);

}  // namespace halftone::pack
