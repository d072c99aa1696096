// SentencePiece's precompiled character map: a double-array trie over UTF-8 with the replacement
// texts behind it. Layout: u32 byte length of the trie, the trie as u32 units (Darts-clone, S.
// Yata), texts ended by NUL.
#pragma once

#include <string>
#include <string_view>

namespace halftone::text {

// Walks the whole map (base64, as in tokenizer.json), so that the crate that uses it can neither
// leave the trie nor cut a character. Returns how many bytes one byte of text may become.
// FileError{E_VALUE, E_TRUNC} naming `path`.
double check_charsmap(std::string_view base64, const std::string& path);

}  // namespace halftone::text
