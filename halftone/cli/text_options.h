// The options by which commands that measure on text say which.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace halftone::cli {

inline void add_data(CLI::App& app, std::string& folder) {
  app.add_option("--data", folder, "folder of data sets (default: HALFTONE_DATA)");
}

// --text and --data.
inline void add_text(CLI::App& app, std::string& file, std::string& folder) {
  app.add_option("--text", file,
                 "score this .txt, .jsonl or .parquet file instead of wikitext2's test split");
  add_data(app, folder);
}

}  // namespace halftone::cli
