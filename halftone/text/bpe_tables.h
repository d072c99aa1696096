// The two large members of a BPE tokenizer.json, read straight from its text into tables: as a JSON
// value they take ten times as long, and twice the memory.
//
// This reader only knows files without fault. Whatever is odd about one, in the least, gives
// nothing: the way through parse_json and check_tokenizer then finds it again and says what it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/limits.h"
#include "halftone/text/token_table.h"

namespace halftone::text {

struct BpeTables {
  TokenTable tokens;
  std::vector<uint32_t> merges;  // left, right and made id of each, in order of rank
  std::string rest;              // the file with "vocab": {} and "merges": [] in "model"
};

// What check_tokenizer says of these two holds: ids in range and unique, tokens unique and not too
// long, every merge of two tokens that make a third. Not for subword marks (the caller looks for
// continuing_subword_prefix and end_of_word_suffix in the rest).
std::optional<BpeTables> read_bpe_tables(std::string_view json, const Limits& limits);

}  // namespace halftone::text
