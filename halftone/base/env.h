// Every file operation of the project goes through Env, so that truncated disks, failing fsyncs and
// power cuts are ordinary tests. PosixEnv is the real one; FaultEnv wraps another and fails on
// demand.
//
// Errors: IoError naming the path and the operation. Reads loop over short counts and EINTR; a
// failed fsync is fatal and never retried (the dirty pages may be gone).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace halftone {

// A file open for reading. Const members are safe from many threads.
class ReadFile {
 public:
  virtual ~ReadFile() = default;
  virtual uint64_t size() const = 0;
  virtual const std::string& path() const = 0;
  // Reads exactly out.size() bytes; FileError{Code::truncated} when the file ends before.
  virtual void read(uint64_t offset, std::span<std::byte> out) const = 0;
  // The whole file mapped, or an empty span where mapping is not possible; lives as long as the
  // file.
  virtual std::span<const std::byte> map() const = 0;
  // These bytes of the mapping will not be read soon: their pages may leave this process's memory,
  // and come back from the file when they are touched.
  virtual void forget(std::span<const std::byte> /*mapped*/) const {}
};

// A file open for writing, append only. Close checks; the destructor closes without checking.
class WriteFile {
 public:
  virtual ~WriteFile() = default;
  virtual void write(std::span<const std::byte> data) = 0;
  virtual void sync() = 0;
  virtual void close() = 0;
  virtual uint64_t written() const = 0;
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
};

struct FileInfo {
  bool is_directory = false, is_regular = false;
  uint64_t size = 0, device = 0, inode = 0;
  int64_t modified_ns = 0;  // since 1970
};

// What lies under a name itself, links not followed. Nothing can be renamed onto a link to a folder or
// onto a mount point.
enum class Place : uint8_t { free, ordinary, link, mount_point };

// An exclusive lock on a path; released by the destructor.
class FileLock {
 public:
  virtual ~FileLock() = default;
};

class Env {
 public:
  virtual ~Env() = default;
  virtual std::shared_ptr<const ReadFile> open(
      const std::string& path) = 0;  // regular files only; never blocks on a FIFO
  virtual std::unique_ptr<WriteFile> create(const std::string& path, bool append = false) = 0;
  virtual std::optional<FileInfo> stat(
      const std::string& path) = 0;  // follows links; empty when absent
  virtual Place place(const std::string& path) = 0;
  virtual std::vector<std::string> list(const std::string& directory) = 0;  // names, sorted
  virtual void rename(const std::string& from, const std::string& to) = 0;
  // Swaps two existing names in one step where the file system can (renameat2), else in three
  // renames.
  virtual void exchange(const std::string& a, const std::string& b) = 0;
  virtual void remove(const std::string& path) = 0;  // a file or an empty directory; absent is fine
  virtual void make_directories(const std::string& path) = 0;
  virtual void sync_directory(const std::string& path) = 0;
  virtual void truncate(const std::string& path, uint64_t size) = 0;
  virtual uint64_t free_space(
      const std::string& path) = 0;  // bytes on the file system of an existing path
  virtual std::unique_ptr<FileLock> lock(
      const std::string& path) = 0;  // IoError{EWOULDBLOCK} when another process has it

  std::string read_text(const std::string& path, uint64_t max_bytes);
  void remove_tree(const std::string& path);
};

std::unique_ptr<Env> posix_env();

// What a test injects: called before each operation with its name ("write", "sync", "rename", ...)
// and path; a non-zero return is the errno that the operation fails with.
std::unique_ptr<Env> fault_env(
    Env& inner, std::function<int(std::string_view operation, const std::string& path)> fault);

// Writes `contents` so that `path` holds either the old bytes or the new ones: temp file, fsync,
// rename, fsync of the folder.
void write_atomically(Env& env, const std::string& path, std::string_view contents);

std::string join_path(std::string_view a, std::string_view b);
std::string parent_path(std::string_view path);  // "." when there is none
std::string file_name(std::string_view path);

}  // namespace halftone
