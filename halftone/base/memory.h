// Memory of this process, as the system counts it.
#pragma once

#include <cstdint>

namespace halftone {

// The most bytes that were resident at once since this program was started. (getrusage's figure
// outlives exec: in a child it begins at what its parent had.) 0 where the system does not say.
uint64_t peak_rss_bytes();

}  // namespace halftone
