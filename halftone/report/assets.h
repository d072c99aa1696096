// Script and style of the page, built from web/ and embedded at build time.
#pragma once

#include <string_view>

namespace halftone::report {

std::string_view page_script();
std::string_view page_style();
// The page's Content-Security-Policy: this script, this style, nothing else and no network.
std::string_view page_policy();

}  // namespace halftone::report
