// `<output>.work`: everything an unfinished run keeps. See driver.h.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "halftone/base/context.h"
#include "halftone/base/json.h"
#include "halftone/pack/decorated_linear.h"
#include "halftone/recipe/journal.h"

namespace halftone::recipe {

class WorkFolder {
 public:
  // Creates and locks it. IoError when another process works there. Nothing of an earlier run is
  // touched yet.
  WorkFolder(const Context& context, const std::string& output);
  // Removes a folder in which no run was begun.
  ~WorkFolder();
  WorkFolder(const WorkFolder&) = delete;
  WorkFolder& operator=(const WorkFolder&) = delete;

  // Begins a run, or goes on with the earlier one when its fingerprint is the same. Another
  // fingerprint: FileError{mismatch} naming the fields, or with `force` a new beginning. Leftovers
  // of a killed run (temporaries, spilled activations) are removed.
  void begin(const Json& fingerprint, bool force);

  const std::string& path() const { return path_; }
  std::string staging() const {
    return join_path(path_, "out");
  }  // where the output folder is assembled
  // Parts that are recorded and whole, in order of units: [unit] -> its record.
  const std::vector<Json>& finished() const { return finished_; }
  const Json* assembled() const { return assembled_.is_null() ? nullptr : &assembled_; }

  // Writes the part of the next unit, syncs it, and journals `record` with the part's size and
  // hash.
  void add_part(int64_t unit, const std::vector<std::pair<std::string, HostTensor>>& tensors,
                Json record);
  std::string part_path(int64_t unit) const;
  void record_assembled(const std::string& hash);
  void remove_temporaries();  // after a failure: staging and half-written parts; what is journalled
                              // stays
  void remove();              // the run is over

 private:
  void read_records();
  bool part_is_whole(const Json& record) const;
  const Context& context_;
  Env& env_;
  std::string path_;
  std::unique_ptr<FileLock> lock_;
  std::unique_ptr<Journal> journal_;
  std::vector<Json> finished_;
  Json assembled_;
  bool created_ = false, begun_ = false;
};

// Dotted names of the fields in which two values differ, at most `limit`.
std::vector<std::string> differing_fields(const Json& a, const Json& b, size_t limit = 6);

}  // namespace halftone::recipe
