// report_page IN.json OUT.html: the page of a comparison that was recorded, {"result", "facts"}. For
// browser.mjs, which looks at it.
#include <fstream>
#include <iostream>
#include <sstream>

#include "halftone/report/comparison.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: report_page IN.json OUT.html\n";
    return 2;
  }
  std::stringstream text;
  text << std::ifstream(argv[1], std::ios::binary).rdbuf();
  const halftone::Json in = halftone::parse_json(text.str(), argv[1]);
  std::ofstream out(argv[2], std::ios::binary);
  out << halftone::report::comparison_page(in["result"], in["facts"]);
  return out.flush() ? 0 : 1;
}
