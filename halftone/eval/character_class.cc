#include "halftone/eval/character_class.h"

#include <algorithm>
#include <iterator>

namespace halftone::eval {
namespace {

constexpr CharacterClass N = CharacterClass::number, P = CharacterClass::punctuation,
                         S = CharacterClass::symbol;
struct Run {
  char32_t first, last;
  CharacterClass kind;
};
constexpr Run kRuns[] = {
    // in order; what none of them holds is something else
#include "halftone/eval/character_class.inc"
};

}  // namespace

CharacterClass character_class(char32_t c) {
  const Run* run = std::lower_bound(std::begin(kRuns), std::end(kRuns), c,
                                    [](const Run& r, char32_t x) { return r.last < x; });
  return run != std::end(kRuns) && run->first <= c ? run->kind : CharacterClass::other;
}

}  // namespace halftone::eval
