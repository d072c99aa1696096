// Questions with two answers in piqa's form, no two alike, for runs that are to last.
#pragma once

#include <string>

#include "halftone/base/json.h"

namespace halftone::tests {

inline std::string piqa_lines(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) {
    const std::string n = std::to_string(i * 7919 % 3001);
    lines += Json({{"goal", "Lily has " + n + " toys and wants to " + (i % 3 ? "play" : "sleep")},
                   {"sol1", "She plays with toy " + n + " in the park."},
                   {"sol2", "She eats all " + n + " toys in her bed."},
                   {"label", i % 2}})
                 .dump() +
             "\n";
  }
  return lines;
}

}  // namespace halftone::tests
