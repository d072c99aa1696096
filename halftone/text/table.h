// Text columns of parquet files, the form in which data sets lie on the hub (uncompressed, snappy,
// zstd).
//
//     TextTable table(*context.env, path);                 // column "text"
//     for (auto rows = table.next(1000); !rows.empty(); rows = table.next(1000)) ...
//
// Errors: FileError naming the file: E_VALUE when it is not parquet, damaged, or a row is not
// UTF-8; E_MISSING for a column that is not there (the message lists those that are); E_LIMIT when
// a batch holds more text than limits.string_bytes x 16. Not for several threads at once.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/env.h"

namespace halftone::text {

class TextTable {
 public:
  TextTable(Env& env, const std::string& path, const std::string& column = "text",
            const Limits& limits = {});
  TextTable(TextTable&&) noexcept;
  ~TextTable();

  // At most `most` more rows; empty at the end. A null is "".
  std::vector<std::string> next(int64_t most);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// A whole column. E_LIMIT beyond limits.array_elements rows or limits.json_file_bytes of text.
std::vector<std::string> read_text_column(Env& env, const std::string& path,
                                          const std::string& column, const Limits& limits = {});

// For halftone/files/datasets.h, which does not know this folder. `env` must outlive it.
std::function<std::vector<std::string>(const std::string& path, const std::string& column)>
parquet_reader(Env& env, const Limits& limits = {});

}  // namespace halftone::text
