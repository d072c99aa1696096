// How BLEU cuts a line into words. v13a: as mteval-v13a, the default of sacrebleu and WMT;
// character: every character; none: at spaces, for text that is tokenized already; international: as
// mteval-v14, by the punctuation and symbols of all scripts.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace halftone::eval {

enum class Words : uint8_t { v13a, character, none, international };
std::vector<std::string> words_names();   // "13a", "char", "none", "intl"
Words words_from(std::string_view name);  // InputError when it is none of them
std::vector<std::string> split_words(std::string_view line, Words words);

}  // namespace halftone::eval
