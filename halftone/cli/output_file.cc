#include "halftone/cli/output_file.h"

#include "halftone/base/error.h"

namespace halftone::cli {
namespace {

bool same(const std::optional<FileInfo>& a, const std::optional<FileInfo>& b) {
  return a && b && a->device == b->device && a->inode == b->inode;
}

}  // namespace

OutputFile::OutputFile(Env& env, std::string path, std::string_view flag,
                       const std::vector<std::string>& inputs)
    : env_(env), path_(std::move(path)) {
  const std::string subject(flag);
  const auto there = env_.stat(path_);
  if ((there && there->is_directory) || path_.ends_with('/'))
    throw InputError(subject, path_ + " is a folder", "name a file in it");
  if (there && there->is_regular) {
    const auto folder = env_.stat(parent_path(path_));
    for (const std::string& input : inputs) {
      const auto info = env_.stat(input);
      if (same(there, info))
        throw InputError(subject, path_ + " is read by this command", "give another name");
      if (same(folder, info))
        throw InputError(subject, path_ + " is a file of the model " + input, "give another name");
    }
  }
  const bool device = there && !there->is_regular;
  if (!device) temporary_ = path_ + ".tmp";
  try {
    file_ = env_.create(device ? path_ : temporary_);
  } catch (const IoError& e) {
    temporary_.clear();
    throw IoError(path_, "create", e.error_number,
                  "give " + subject + " a path that can be written");
  }
}

OutputFile::~OutputFile() {
  if (temporary_.empty()) return;
  try {
    file_.reset();
    env_.remove(temporary_);
  } catch (const Error&) {  // an error is on its way already
  }
}

void OutputFile::finish() {
  if (temporary_.empty()) return file_->close();
  file_->sync();
  file_->close();
  env_.rename(temporary_, path_);
  temporary_.clear();
  env_.sync_directory(parent_path(path_));
}

}  // namespace halftone::cli
