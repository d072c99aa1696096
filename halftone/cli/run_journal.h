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
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/env.h"
#include "halftone/base/error.h"
#include "halftone/base/json.h"
#include "halftone/eval/score.h"
#include "halftone/recipe/journal.h"

namespace halftone::cli {

// Changes whenever a file of the model may have: a name, a size, a time. `model`: a path.
std::string files_fingerprint(Env& env, const std::string& model);
// The same of a run: of the settings and the program, too.
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

// Those of a run that measures several models: open until all of it is whole.
class RunJournals {
 public:
  // `run` begins the settings of each: what one run keeps is nothing to another.
  RunJournals(const Context& context, std::string run, bool fresh)
      : context_(context), run_(std::move(run)), fresh_(fresh) {}
  // As RunJournal's; the same one for the same model and settings.
  eval::RunMemory of(const std::string& model, const std::string& settings);
  void remove();

 private:
  const Context& context_;
  std::string run_;
  bool fresh_;
  std::map<std::pair<std::string, std::string>, std::unique_ptr<RunJournal>> journals_;
};

// What `run` throws when it is interrupted says how to go on.
template <class F>
auto resumable(const F& run) {
  try {
    return run();
  } catch (const Error& e) {
    if (e.code() != Code::interrupted) throw;
    throw Error(Code::interrupted, e.subject(), e.fact(),
                "the same command goes on where this one stopped");
  }
}

}  // namespace halftone::cli
