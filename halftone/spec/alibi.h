// Linear position biases in place of position embeddings: Press, Smith, Lewis 2021,
// arXiv:2108.12409.
#pragma once

#include <cstdint>
#include <vector>

namespace halftone::spec {

// The slope of each head: the score of query i and key j gets slope * (j - i). 2^(-8 h / heads),
// h = 1 .. heads, for a power of two; else those of the power of two below, then every other one of
// the power above (BLOOM's rule).
std::vector<double> alibi_slopes(int64_t heads);

}  // namespace halftone::spec
