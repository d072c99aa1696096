// Does a JSON file have the shape that its reader takes for granted? Said by an example:
//
//   {"model": "", "tok_s": 0.0, "rows": [{"count": 0}], "range?": [0.0, 0.0]}
//
// A key of the example is there and of that shape; one that ends in ? may be missing or null. What
// the example does not name is not looked at.
//   ""  a string     true  true or false     0  an integer     0.0  a number, integers too
//   [x]  any number of x   [x, y]  as many as there are, each of its own shape
#pragma once

#include <string>

#include "halftone/base/json.h"

namespace halftone {

// FileError{value} naming the file, the first key that is wrong, and what it should be.
void check_shape(const Json& document, const Json& shape, const std::string& path,
                 const std::string& remedy);

}  // namespace halftone
