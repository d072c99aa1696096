// A ReadFile over bytes in memory: what fuzz targets and tests hand to readers of files.
#pragma once

#include <algorithm>
#include <string>

#include "halftone/base/env.h"
#include "halftone/base/error.h"

namespace halftone::files {

class MemoryFile : public ReadFile {
 public:
  MemoryFile(std::span<const std::byte> bytes, std::string path)
      : bytes_(bytes), path_(std::move(path)) {}  // bytes outlive it
  uint64_t size() const override { return bytes_.size(); }
  const std::string& path() const override { return path_; }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    if (offset > bytes_.size() || out.size() > bytes_.size() - offset)
      throw FileError(Code::truncated, path_, "the file ends, bytes are missing", offset);
    const auto part = bytes_.subspan(offset, out.size());
    std::copy(part.begin(), part.end(), out.begin());
  }
  std::span<const std::byte> map() const override { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
  std::string path_;
};

}  // namespace halftone::files
