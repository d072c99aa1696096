// A file that a command writes beside its result: the page of --report, the lines of --log-samples.
//
// Opened before any work, so that a path that cannot be written is found in milliseconds and not
// after an hour. The name appears only when `finish` has made the file whole; a command that ends
// earlier leaves nothing. Devices and pipes (/dev/stderr, a process substitution) are written as
// they are.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "halftone/base/env.h"

namespace halftone::cli {

class OutputFile {
 public:
  // `flag` names the option in errors. `inputs`: files, and folders with their files, that the command
  // reads: never replaced. InputError for a folder or an input, IoError when the system refuses.
  OutputFile(Env& env, std::string path, std::string_view flag,
             const std::vector<std::string>& inputs);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;

  void write(std::string_view text) { file_->write(text); }
  void finish();

 private:
  Env& env_;
  std::string path_, temporary_;  // temporary_: empty for a device, and once it has its name
  std::unique_ptr<WriteFile> file_;
};

}  // namespace halftone::cli
