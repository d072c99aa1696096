// The alphabet in which byte-level vocabularies spell bytes: printable bytes as themselves, the
// others as characters from U+0100. Radford et al. 2019 (GPT-2).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone::text {

// The 256 characters (UTF-8), by byte value.
const std::vector<std::string>& byte_level_alphabet();

// Bytes as the vocabulary spells them.
std::string to_byte_level(std::string_view bytes);

// The bytes that a token of such a vocabulary stands for; characters outside the alphabet stand for
// themselves.
std::string from_byte_level(std::string_view token);

}  // namespace halftone::text
