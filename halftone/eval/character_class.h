// What Unicode says a character is, as far as word tokenizers ask: its general category by the first
// letter. The table is made by tests/tools/character_class.py.
#pragma once

#include <cstdint>

namespace halftone::eval {

enum class CharacterClass : uint8_t { other, number, punctuation, symbol };  // N, P, S
CharacterClass character_class(char32_t c);

}  // namespace halftone::eval
