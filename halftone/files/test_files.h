// Shared by the tests of this folder: a temporary folder, files out of bytes, and "which error does
// this give".
#pragma once

#include <unistd.h>

#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include "halftone/base/context.h"
#include "halftone/base/env.h"
#include "halftone/base/error.h"

namespace halftone::files::testing_files {

class TempFolder {
 public:
  TempFolder() : env_(posix_env()) {
    static int counter = 0;
    const char* base = std::getenv("TMPDIR");
    path_ = join_path(base ? base : "/tmp", "halftone_files_" + std::to_string(::getpid()) + "_" +
                                                std::to_string(counter++));
    env_->remove_tree(path_);
    env_->make_directories(path_);
    context.env = env_.get();
    context.log = [this](Level, std::string_view text) { log += std::string(text) + "\n"; };
  }
  ~TempFolder() { env_->remove_tree(path_); }
  TempFolder(const TempFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string in(std::string_view name) const { return join_path(path_, name); }
  std::string write(std::string_view name, std::string_view bytes) const {
    const auto file = env_->create(in(name));
    file->write(bytes);
    file->close();
    return in(name);
  }
  std::string read(std::string_view name) const { return env_->read_text(in(name), 1 << 30); }
  Env& env() const { return *env_; }

  Context context;
  std::string log;

 private:
  std::unique_ptr<Env> env_;
  std::string path_;
};

// The code of the Error that `call` throws; Code::internal when it throws none.
inline Code code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.code();
  }
  return Code::internal;
}
inline std::string line_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& e) {
    return e.line();
  }
  return "no error";
}

template <class T>
std::string raw(T value) {
  std::string out(sizeof(T), '\0');
  std::memcpy(out.data(), &value, sizeof(T));
  return out;
}

}  // namespace halftone::files::testing_files
