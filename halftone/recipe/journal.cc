#include "halftone/recipe/journal.h"

#include <cstdio>

#include "halftone/base/error.h"
#include "halftone/base/hash.h"

namespace halftone::recipe {
namespace {

constexpr uint64_t kMaxBytes = 1ull << 30;

std::string checksum(std::string_view text) {
  char out[17];
  std::snprintf(out, sizeof(out), "%016llx",
                static_cast<unsigned long long>(hash64(std::as_bytes(std::span(text)))));
  return out;
}

}  // namespace

Journal::Journal(Env& env, std::string path) : env_(env), path_(std::move(path)) {
  if (!env_.stat(path_)) return;
  const std::string text = env_.read_text(path_, kMaxBytes);
  size_t at = 0;
  while (at < text.size()) {
    const size_t end = text.find('\n', at);
    if (end == std::string::npos || end - at < 18) break;
    const std::string_view body(text.data() + at, end - at - 17), sum(text.data() + end - 16, 16);
    if (text[end - 17] != ' ' || sum != checksum(body)) break;
    try {
      records_.push_back(parse_json(body, path_));
    } catch (const FileError&) {  // a checksum that fits by accident
      break;
    }
    at = end + 1;
    ends_.push_back(at);
  }
  if (at < text.size()) cut_after(records_.size());
}

void Journal::append(const Json& record) {
  const bool is_new = !file_ && !env_.stat(path_);
  if (!file_) file_ = env_.create(path_, true);
  const std::string body = record.dump();
  const std::string line = body + " " + checksum(body) + "\n";
  file_->write(line);
  file_->sync();
  if (is_new) env_.sync_directory(parent_path(path_));
  records_.push_back(record);
  ends_.push_back((ends_.empty() ? 0 : ends_.back()) + line.size());
}

void Journal::cut_after(size_t count) {
  file_.reset();
  records_.resize(count);
  ends_.resize(count);
  env_.truncate(path_, count == 0 ? 0 : ends_.back());
  const auto file = env_.create(path_, true);
  file->sync();
  file->close();
}

}  // namespace halftone::recipe
