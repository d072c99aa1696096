// The journal of a run: one line per finished stage, each with its own checksum, synced before the
// run goes on.
//
//     {"kind":"block","unit":3,...} 5f2c9a01d4e8b377
//
// Only lines whose checksum is right count, and only up to the first that is not: what a kill or a
// power cut left half written is cut off.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/json.h"

namespace halftone::recipe {

class Journal {
 public:
  // Reads `path` if it is there and cuts a torn tail.
  Journal(Env& env, std::string path);
  const std::vector<Json>& records() const { return records_; }
  void append(const Json& record);  // written and synced when it returns
  void cut_after(size_t records);   // forgets the later ones (a part that they speak of is damaged)

 private:
  Env& env_;
  std::string path_;
  std::vector<Json> records_;
  std::vector<uint64_t> ends_;  // byte after each record
  std::unique_ptr<WriteFile> file_;
};

}  // namespace halftone::recipe
