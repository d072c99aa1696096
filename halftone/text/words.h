// Words of a text, and the English words that carry no content, by crates that others keep.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace halftone::text {

// Words in their order as UAX #29 cuts them (unicode-segmentation), lower case, with ' for the
// typographic apostrophe. A piece without a letter or digit is no word. FileError E_UTF8 when
// `text` is not UTF-8.
std::vector<std::string> split_words(std::string_view text);

// NLTK's English list, 198 words, out of the crate stop-words (MIT or Apache-2.0), in the form of
// split_words.
std::vector<std::string> stop_words();

}  // namespace halftone::text
