// Memory of this process, as the system counts it.
#pragma once

#include <cstdint>

namespace halftone {

// The most bytes that were resident at once since this program was started. (getrusage's figure
// outlives exec: in a child it begins at what its parent had.) 0 where the system does not say.
uint64_t peak_rss_bytes();

// Memory that could still be taken without pushing anything out: what the system calls available,
// and at most what the limit of this process's control group leaves. 0 where the system does not
// say.
uint64_t available_memory_bytes();

}  // namespace halftone
