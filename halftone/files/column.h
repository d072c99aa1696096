// One text for each item of a data set, whatever the file: a line of a plain text file, a field of
// .jsonl, a column of .tsv (names in its first line, no quoting) or .csv (RFC 4180).
//
//     read_column(env, "answers.jsonl", std::array<std::string, 2>{"prediction", "text"})
//
// Errors: FileError naming FILE:LINE, as in documents.h.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/limits.h"

namespace halftone::files {

struct Cell {
  std::string text;
  std::string where;  // "answers.jsonl:12"
};

struct Cells {
  std::vector<Cell> all;    // one at least
  int64_t blank_lines = 0;  // of .jsonl and .csv, passed over
};

// `fields`: the first of them that the file has is read from every item. Numbers and true/false of
// .jsonl are given as they are written. Every line of a plain file is an item, the empty ones, too.
Cells read_column(Env& env, const std::string& path, std::span<const std::string> fields,
                  const Limits& limits = {});

}  // namespace halftone::files
