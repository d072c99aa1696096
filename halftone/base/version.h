// Which program this is: figures that it prints name it.
#pragma once

#include <string_view>

namespace halftone {

// Of the source it was built from, "-dirty" with changes that are not committed; "unknown" where it
// was built without git.
std::string_view program_commit();

}  // namespace halftone
