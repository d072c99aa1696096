#include "halftone/report/assets.h"

#include <cstddef>

// The assembler takes the files as they are: an array of 600 kB in C++ costs the compiler seconds.
// PAGE_FOLDER is where web/build.mjs wrote them.
asm(".pushsection .rodata\n"
    "halftone_page_script: .incbin \"" PAGE_FOLDER
    "/report.js\"\n"
    "halftone_page_script_end:\n"
    "halftone_page_style: .incbin \"" PAGE_FOLDER
    "/report.css\"\n"
    "halftone_page_style_end:\n"
    "halftone_page_policy: .incbin \"" PAGE_FOLDER
    "/policy.txt\"\n"
    "halftone_page_policy_end:\n"
    ".global halftone_page_script, halftone_page_script_end, halftone_page_style\n"
    ".global halftone_page_style_end, halftone_page_policy, halftone_page_policy_end\n"
    ".popsection\n");

extern "C" {
extern const char halftone_page_script[], halftone_page_script_end[];
extern const char halftone_page_style[], halftone_page_style_end[];
extern const char halftone_page_policy[], halftone_page_policy_end[];
}

namespace halftone::report {
namespace {

std::string_view between(const char* begin, const char* end) {
  return {begin, static_cast<size_t>(end - begin)};
}

}  // namespace

std::string_view page_script() { return between(halftone_page_script, halftone_page_script_end); }
std::string_view page_style() { return between(halftone_page_style, halftone_page_style_end); }
std::string_view page_policy() { return between(halftone_page_policy, halftone_page_policy_end); }

}  // namespace halftone::report
