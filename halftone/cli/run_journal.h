// What an evaluation has finished, kept in the cache folder while it runs, so that the same command
// goes on after a kill, a power cut or Ctrl-C and ends with the same results.
//
// One file for each (model, engine, options): CACHE/eval/HASH.journal, lines with checksums
// (recipe/journal.h), of which a torn last one is cut off. Written every half second, so that short
// runs leave nothing on the disk; removed when the run is whole, unless its results are worth
// keeping for another command. Where the cache folder cannot be
// written, or another run of the same model is under way, nothing is kept, and the user is told.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/env.h"
#include "halftone/base/json.h"
#include "halftone/eval/score.h"
#include "halftone/recipe/journal.h"

namespace halftone::cli {

// Changes whenever a file of the model may have: its name, its size, its time. Of the program, too.
std::string fingerprint(Env& env, const std::string& model, const std::string& settings);

class RunJournal {
 public:
  // `model`: a path. `settings`: all else that decides a logit. With `fresh` an earlier run's
  // results are forgotten.
  RunJournal(const Context& context, const std::string& model, const std::string& settings,
             bool fresh);
  ~RunJournal();  // writes what is left
  RunJournal(const RunJournal&) = delete;

  eval::RunMemory memory();
  void remove();  // the run is whole
  const std::string& path() const { return path_; }

 private:
  void flush();
  bool open();
  const Context& context_;
  std::string path_;
  std::unique_ptr<FileLock> lock_;
  std::optional<recipe::Journal> journal_;
  std::unordered_map<uint64_t, Json> known_;
  std::vector<std::pair<uint64_t, Json>> fresh_;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
  bool off_ = false;
};

}  // namespace halftone::cli
