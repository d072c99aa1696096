// Named text sets: where they lie, and their rows exactly as the published scripts see them.
//
// Looked for in `data_dir` (HALFTONE_DATA), then, wikitext2 only, in the hub cache's datasets
// (parquet, through a reader that the program gives).
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/limits.h"

namespace halftone::files {

enum class Split : uint8_t { train, validation, test };
std::string_view split_name(Split split);

struct TextSet {
  std::string
      label;  // "wikitext2 test", "c4-partial train": partial when not the whole published split
  std::string path;
  std::vector<std::string>
      rows;  // wikitext2: one per line of the raw set, "" for blank ones, else with its newline
  std::string joint;        // what the GPTQ scripts put between rows
  std::string caution;      // a sentence for the user when this is not the split that was asked for
  int64_t blank_lines = 0;  // of .jsonl, passed over
  std::string joined() const;
};

// Reads the text column of a parquet file; halftone/text/table.h has one.
using ParquetReader =
    std::function<std::vector<std::string>(const std::string& path, const std::string& column)>;

struct DataPlaces {
  std::string data_dir;   // "" when there is none
  std::string hub_cache;  // ".../hub"
  ParquetReader parquet;  // may be empty: parquet files are then skipped
};
// HALFTONE_DATA, or ../shared/data from the working folder where that exists; the cache as
// hub_cache_folder() finds it.
DataPlaces default_data_places(Env& env);

std::vector<std::string> text_set_names();  // "c4", "ptb", "wikitext2"
// Empty when no place has it. FileError when a file is there but broken; InputError for an unknown
// name.
std::optional<TextSet> find_text_set(Env& env, const std::string& name, Split split,
                                     const DataPlaces& places, const Limits& limits = {});
// Where find_text_set would read it from, without reading.
std::optional<std::string> text_set_path(Env& env, const std::string& name, Split split,
                                         const DataPlaces& places);
// The places in words, for the error of who needs it: "looked for as c4/... in the data folder
// ...".
std::string text_set_sought(const std::string& name, Split split, const DataPlaces& places);
// A user's own file: .txt (one document), .jsonl (field "text"), .parquet (column "text").
TextSet read_text_file(Env& env, const std::string& path, const ParquetReader& parquet,
                       const Limits& limits = {});

}  // namespace halftone::files
