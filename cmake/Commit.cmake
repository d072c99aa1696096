# cmake -DROOT=<source> -DOUT=<file> -P Commit.cmake: writes the commit that is built into a C++ file, only when it changed.
execute_process(COMMAND git -C ${ROOT} describe --always --dirty --abbrev=12 --exclude=*
                OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit "unknown")
endif()
file(CONFIGURE OUTPUT ${OUT} CONTENT [[
#include "halftone/base/version.h"

namespace halftone {
std::string_view program_commit() { return "@commit@"; }
}  // namespace halftone
]] @ONLY)
