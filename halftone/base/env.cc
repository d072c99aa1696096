#include "halftone/base/env.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <mutex>
#include <utility>

#include "halftone/base/error.h"

namespace halftone {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

class PosixReadFile : public ReadFile {
 public:
  PosixReadFile(int fd, std::string path, uint64_t size)
      : fd_(fd), path_(std::move(path)), size_(size) {}
  ~PosixReadFile() override {
    if (!map_.empty()) ::munmap(const_cast<std::byte*>(map_.data()), map_.size());
  }
  uint64_t size() const override { return size_; }
  const std::string& path() const override { return path_; }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    while (!out.empty()) {
      const ssize_t n = ::pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
      if (n < 0) {
        if (errno == EINTR) continue;
        throw IoError(path_, "read", errno);
      }
      if (n == 0)
        throw FileError(Code::truncated, path_,
                        "the file ends, " + std::to_string(out.size()) + " bytes are missing",
                        offset);
      out = out.subspan(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
  }
  std::span<const std::byte> map() const override {
    std::call_once(mapped_, [this] {
      if (size_ == 0) return;
      void* p = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd_.get(), 0);
      if (p != MAP_FAILED) map_ = {static_cast<const std::byte*>(p), size_};
    });
    return map_;
  }
  void forget(std::span<const std::byte> mapped) const override {
    // Whole pages only: neighbours may be in use.
    static const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto begin = (reinterpret_cast<uintptr_t>(mapped.data()) + page - 1) / page * page,
               end = (reinterpret_cast<uintptr_t>(mapped.data()) + mapped.size()) / page * page;
    if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }

 private:
  Descriptor fd_;
  std::string path_;
  uint64_t size_;
  mutable std::once_flag mapped_;
  mutable std::span<const std::byte> map_;
};

class PosixWriteFile : public WriteFile {
 public:
  PosixWriteFile(int fd, std::string path, uint64_t start)
      : fd_(fd), path_(std::move(path)), written_(start) {}
  using WriteFile::write;
  void write(std::span<const std::byte> data) override {
    while (!data.empty()) {
      const ssize_t n =
          ::write(fd_.get(), data.data(), std::min<size_t>(data.size(), size_t{1} << 30));
      if (n < 0) {
        if (errno == EINTR) continue;
        throw IoError(path_, "write", errno,
                      errno == ENOSPC ? "free some space and run again: what is done is kept" : "");
      }
      data = data.subspan(static_cast<size_t>(n));
      written_ += static_cast<uint64_t>(n);
    }
  }
  void sync() override {
    if (::fsync(fd_.get()) != 0) throw IoError(path_, "fsync", errno);
  }
  void close() override {
    const int fd = fd_.release();
    if (fd >= 0 && ::close(fd) != 0) throw IoError(path_, "close", errno);
  }
  uint64_t written() const override { return written_; }

 private:
  Descriptor fd_;
  std::string path_;
  uint64_t written_;
};

class PosixLock : public FileLock {
 public:
  explicit PosixLock(int fd) : fd_(fd) {}

 private:
  Descriptor fd_;
};

class PosixEnv : public Env {
 public:
  std::shared_ptr<const ReadFile> open(const std::string& path) override {
    Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0) {
      if (errno == ENOENT) throw FileError(Code::missing, path, "no such file");
      throw IoError(path, "open", errno);
    }
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) throw IoError(path, "stat", errno);
    if (!S_ISREG(st.st_mode)) throw FileError(Code::path, path, "not a regular file");
    return std::make_shared<PosixReadFile>(fd.release(), path, static_cast<uint64_t>(st.st_size));
  }
  std::unique_ptr<WriteFile> create(const std::string& path, bool append) override {
    const int fd =
        ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0666);
    if (fd < 0) throw IoError(path, "create", errno);
    const off_t start = append ? ::lseek(fd, 0, SEEK_END) : 0;
    return std::make_unique<PosixWriteFile>(fd, path, static_cast<uint64_t>(start));
  }
  std::optional<FileInfo> stat(const std::string& path) override {
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
      throw IoError(path, "stat", errno);
    }
    return FileInfo{S_ISDIR(st.st_mode),
                    S_ISREG(st.st_mode),
                    static_cast<uint64_t>(st.st_size),
                    static_cast<uint64_t>(st.st_dev),
                    static_cast<uint64_t>(st.st_ino),
                    int64_t{st.st_mtim.tv_sec} * 1000000000 + st.st_mtim.tv_nsec};
  }
  Place place(const std::string& path) override {
    using Statx = struct statx;
    Statx here = {}, above = {};
    const auto look = [](const std::string& at, Statx& out) {
      return ::statx(AT_FDCWD, at.c_str(), AT_SYMLINK_NOFOLLOW, STATX_TYPE | STATX_MNT_ID, &out) ==
             0;
    };
    if (!look(path, here)) return Place::free;
    if (S_ISLNK(here.stx_mode)) return Place::link;
    // A folder bound onto another of the same file system has the same device, so the mount is asked
    // for where the kernel tells it (5.8).
    if (!S_ISDIR(here.stx_mode) || !look(join_path(path, ".."), above)) return Place::ordinary;
    const bool told = (here.stx_mask & above.stx_mask & STATX_MNT_ID) != 0;
    const bool same = told ? here.stx_mnt_id == above.stx_mnt_id
                           : here.stx_dev_major == above.stx_dev_major &&
                                 here.stx_dev_minor == above.stx_dev_minor;
    return same ? Place::ordinary : Place::mount_point;
  }
  std::vector<std::string> list(const std::string& directory) override {
    std::error_code ec;
    std::vector<std::string> names;
    for (std::filesystem::directory_iterator it(directory, ec), end; !ec && it != end;
         it.increment(ec))
      names.push_back(it->path().filename().string());
    if (ec) throw IoError(directory, "list", ec.value());
    std::sort(names.begin(), names.end());
    return names;
  }
  void rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) throw IoError(to, "rename", errno);
  }
  void exchange(const std::string& a, const std::string& b) override {
    if (::renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0) return;
    if (errno != EINVAL && errno != ENOSYS) throw IoError(b, "exchange", errno);
    const std::string aside = b + ".swap";
    rename(b, aside);
    rename(a, b);
    rename(aside, a);
  }
  void remove(const std::string& path) override {
    if (::remove(path.c_str()) != 0 && errno != ENOENT) throw IoError(path, "remove", errno);
  }
  void make_directories(const std::string& path) override {
    std::error_code ec;
    std::filesystem::create_directories(path, ec);
    if (ec) throw IoError(path, "create folder", ec.value());
  }
  void sync_directory(const std::string& path) override {
    Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd.get() < 0) throw IoError(path, "open folder", errno);
    if (::fsync(fd.get()) != 0) throw IoError(path, "fsync folder", errno);
  }
  void truncate(const std::string& path, uint64_t size) override {
    if (::truncate(path.c_str(), static_cast<off_t>(size)) != 0)
      throw IoError(path, "truncate", errno);
  }
  uint64_t free_space(const std::string& path) override {
    struct statvfs st {};
    if (::statvfs(path.c_str(), &st) != 0) throw IoError(path, "statvfs", errno);
    return static_cast<uint64_t>(st.f_bavail) * st.f_frsize;
  }
  std::unique_ptr<FileLock> lock(const std::string& path) override {
    Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
    if (fd.get() < 0) throw IoError(path, "lock", errno);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0)
      throw IoError(path, "lock", errno, "another halftone process is working there");
    return std::make_unique<PosixLock>(fd.release());
  }
};

class FaultyWriteFile : public WriteFile {
 public:
  FaultyWriteFile(std::unique_ptr<WriteFile> inner, std::string path,
                  std::function<void(std::string_view, const std::string&)> gate)
      : inner_(std::move(inner)), path_(std::move(path)), gate_(std::move(gate)) {}
  using WriteFile::write;
  void write(std::span<const std::byte> data) override {
    gate_("write", path_);
    inner_->write(data);
  }
  void sync() override {
    gate_("sync", path_);
    inner_->sync();
  }
  void close() override {
    gate_("close", path_);
    inner_->close();
  }
  uint64_t written() const override { return inner_->written(); }

 private:
  std::unique_ptr<WriteFile> inner_;
  std::string path_;
  std::function<void(std::string_view, const std::string&)> gate_;
};

class FaultyReadFile : public ReadFile {
 public:
  FaultyReadFile(std::shared_ptr<const ReadFile> inner,
                 std::function<void(std::string_view, const std::string&)> gate)
      : inner_(std::move(inner)), gate_(std::move(gate)) {}
  uint64_t size() const override { return inner_->size(); }
  const std::string& path() const override { return inner_->path(); }
  void read(uint64_t offset, std::span<std::byte> out) const override {
    gate_("read", path());
    inner_->read(offset, out);
  }
  std::span<const std::byte> map() const override { return inner_->map(); }

 private:
  std::shared_ptr<const ReadFile> inner_;
  std::function<void(std::string_view, const std::string&)> gate_;
};

class FaultEnv : public Env {
 public:
  FaultEnv(Env& inner, std::function<int(std::string_view, const std::string&)> fault)
      : inner_(inner),
        gate_([fault = std::move(fault)](std::string_view operation, const std::string& path) {
          if (const int error_number = fault(operation, path))
            throw IoError(path, operation, error_number);
        }) {}
  std::shared_ptr<const ReadFile> open(const std::string& p) override {
    gate_("open", p);
    return std::make_shared<FaultyReadFile>(inner_.open(p), gate_);
  }
  std::unique_ptr<WriteFile> create(const std::string& p, bool append) override {
    gate_("create", p);
    return std::make_unique<FaultyWriteFile>(inner_.create(p, append), p, gate_);
  }
  std::optional<FileInfo> stat(const std::string& p) override {
    return gate_("stat", p), inner_.stat(p);
  }
  Place place(const std::string& p) override { return gate_("stat", p), inner_.place(p); }
  std::vector<std::string> list(const std::string& p) override {
    return gate_("list", p), inner_.list(p);
  }
  void rename(const std::string& a, const std::string& b) override {
    gate_("rename", b), inner_.rename(a, b);
  }
  void exchange(const std::string& a, const std::string& b) override {
    gate_("exchange", b), inner_.exchange(a, b);
  }
  void remove(const std::string& p) override { gate_("remove", p), inner_.remove(p); }
  void make_directories(const std::string& p) override {
    gate_("make_directories", p), inner_.make_directories(p);
  }
  void sync_directory(const std::string& p) override {
    gate_("sync_directory", p), inner_.sync_directory(p);
  }
  void truncate(const std::string& p, uint64_t n) override {
    gate_("truncate", p), inner_.truncate(p, n);
  }
  uint64_t free_space(const std::string& p) override {
    return gate_("free_space", p), inner_.free_space(p);
  }
  std::unique_ptr<FileLock> lock(const std::string& p) override {
    return gate_("lock", p), inner_.lock(p);
  }

 private:
  Env& inner_;
  std::function<void(std::string_view, const std::string&)> gate_;
};

}  // namespace

std::string Env::read_text(const std::string& path, uint64_t max_bytes) {
  const auto file = open(path);
  if (file->size() > max_bytes)
    throw FileError(Code::limit, path,
                    "has " + std::to_string(file->size()) + " bytes, the limit is " +
                        std::to_string(max_bytes));
  std::string text(file->size(), '\0');
  file->read(0, std::as_writable_bytes(std::span(text.data(), text.size())));
  return text;
}

// Removing first and listing only what was refused as a full folder never walks through a link.
void Env::remove_tree(const std::string& path) {
  try {
    return remove(path);
  } catch (const IoError& e) {
    if (e.error_number != ENOTEMPTY && e.error_number != EEXIST) throw;
  }
  for (const std::string& name : list(path)) remove_tree(join_path(path, name));
  remove(path);
}

std::unique_ptr<Env> posix_env() { return std::make_unique<PosixEnv>(); }

std::unique_ptr<Env> fault_env(Env& inner,
                               std::function<int(std::string_view, const std::string&)> fault) {
  return std::make_unique<FaultEnv>(inner, std::move(fault));
}

void write_atomically(Env& env, const std::string& path, std::string_view contents) {
  const std::string temporary = path + ".tmp";
  try {
    auto file = env.create(temporary);
    file->write(contents);
    file->sync();
    file->close();
    env.rename(temporary, path);
  } catch (...) {
    try {
      env.remove(temporary);
    } catch (const Error&) {  // the first failure is the one to report
    }
    throw;
  }
  env.sync_directory(parent_path(path));
}

std::string join_path(std::string_view a, std::string_view b) {
  if (a.empty() || b.starts_with('/')) return std::string(b);
  return std::string(a) + (a.ends_with('/') ? "" : "/") + std::string(b);
}

std::string parent_path(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const auto slash = path.rfind('/');
  if (slash == std::string_view::npos) return ".";
  return std::string(slash == 0 ? "/" : path.substr(0, slash));
}

std::string file_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  const auto slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

}  // namespace halftone
