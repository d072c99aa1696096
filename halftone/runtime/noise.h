// Noise as large as a part of a quantization step, on weights or on what linears read: a model that
// has learned (or been rounded) to stand on a knife's edge falls under it.
//
//   weights  w + f * step * u, u uniform in [-1, 1), the step of its group; f = 0.5 is as large as
//            what rounding itself does
//   inputs   x + f * step * u, the step that 8 bits would have: 64 inputs of a token share one,
//            max abs(x) / 127, as in mode int8
// What is drawn depends on the seed, the name of the linear (or the number of the input) and the
// place alone: the same at any thread count and in any order.
#pragma once

#include <cstdint>

#include "halftone/base/context.h"
#include "halftone/pack/dense_copy.h"
#include "halftone/runtime/session.h"

namespace halftone::runtime {

// For pack::dense_copy. Linears that are not quantized have no step and stay. `fraction` 0 changes
// no bit.
pack::ChangeWeights weight_noise(double fraction, uint64_t seed);

// For Session::disturb. Uses context.pool; `context` outlives the session.
Session::Disturber input_noise(double fraction, uint64_t seed, const Context& context);

}  // namespace halftone::runtime
