#include "halftone/files/zip.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "halftone/base/bytes.h"
#include "halftone/files/recognise.h"

namespace halftone::files {
namespace {

constexpr uint32_t kLocal = 0x04034b50, kCentral = 0x02014b50, kEnd = 0x06054b50,
                   kEnd64 = 0x06064b50, kLocator64 = 0x07064b50;
constexpr uint64_t kEndSize = 22, kLocator64Size = 20, kEnd64Size = 56, kLocalSize = 30,
                   kLargestComment = 65535;

std::vector<std::byte> read_bytes(const ReadFile& file, uint64_t offset, uint64_t size) {
  std::vector<std::byte> out(size);
  file.read(offset, out);
  return out;
}

class Directory {
 public:
  Directory(const ReadFile& file, const Limits& limits) : file_(file), limits_(limits) {}

  std::vector<ZipEntry> read() {
    find_end();
    read_central();
    for (Row& row : rows_) check_local(row);
    check_overlap();
    std::vector<ZipEntry> out;
    out.reserve(rows_.size());
    for (Row& row : rows_) out.push_back(std::move(row.entry));
    std::sort(out.begin(), out.end(),
              [](const ZipEntry& a, const ZipEntry& b) { return a.name < b.name; });
    for (size_t i = 1; i < out.size(); ++i)
      if (out[i].name == out[i - 1].name)
        fail(Code::duplicate, "zip entry " + quote(out[i].name) + " appears twice");
    return out;
  }

 private:
  struct Row {
    ZipEntry entry;
    uint64_t header = 0;  // of the local header
    uint16_t method = 0;
  };
  [[noreturn]] void fail(Code code, std::string fact) const {
    throw FileError(code, file_.path(), std::move(fact));
  }

  void find_end() {
    const uint64_t size = file_.size();
    const auto head = read_bytes(file_, 0, std::min<uint64_t>(size, kRecogniseBytes));
    if (head.size() < 4 || std::memcmp(head.data(), "PK\3\4", 4) != 0) {
      refuse_usual_mistakes(head, file_.path(), "pytorch");
      fail(Code::magic, "is not a zip archive");
    }
    const uint64_t tail_size = std::min(size, kEndSize + kLargestComment);
    const auto tail = read_bytes(file_, size - tail_size, tail_size);
    for (uint64_t back = kEndSize; back <= tail_size; ++back) {
      const std::span<const std::byte> rest =
          std::span<const std::byte>(tail).subspan(tail_size - back);
      if (std::memcmp(rest.data(), &kEnd, 4) != 0) continue;
      ByteReader r(rest.subspan(4), file_.path(), size - back + 4);
      const uint16_t disk = r.u16(), directory_disk = r.u16(), here = r.u16();
      count_ = r.u16();
      const uint32_t directory_size = r.u32(), directory_offset = r.u32();
      if (r.u16() != back - kEndSize) continue;  // the comment must fill the rest
      if (disk != 0 || directory_disk != 0 || here != count_)
        fail(Code::unsupported, "is a zip archive of several disks");
      begin_ = directory_offset;
      end_ = size - back;
      uint64_t declared = directory_size;
      const uint64_t count = count_, begin = begin_;
      if (find_end64(
              &declared)) {  // torch always writes the zip64 records, and real values here beside
        if ((count != 0xffff && count != count_) ||
            (directory_size != 0xffffffff && directory_size != declared) ||
            (directory_offset != 0xffffffff && begin != begin_))
          fail(Code::mismatch, "the two end records of the zip archive contradict each other");
      }
      if (begin_ > end_ || declared > end_ - begin_)
        fail(Code::bounds, "the zip directory lies outside the file");
      if (declared != end_ - begin_)
        fail(Code::mismatch, "bytes lie between the zip directory and its end record");
      if (count_ > limits_.zip_entries)
        fail(Code::limit, "has " + std::to_string(count_) + " zip entries, the limit is " +
                              std::to_string(limits_.zip_entries));
      return;
    }
    throw FileError(Code::truncated, file_.path(),
                    "download incomplete: the zip directory at its end is missing", {},
                    "download it again");
  }

  bool find_end64(uint64_t* declared) {
    if (end_ < kLocator64Size + kEnd64Size) return false;
    const auto locator = read_bytes(file_, end_ - kLocator64Size, kLocator64Size);
    ByteReader l(locator, file_.path(), end_ - kLocator64Size);
    if (l.u32() != kLocator64) return false;
    l.skip(4);
    const uint64_t at = l.u64();
    if (at != end_ - kLocator64Size - kEnd64Size)
      fail(Code::bounds, "the zip64 locator points elsewhere");
    const auto record = read_bytes(file_, at, kEnd64Size);
    ByteReader r(record, file_.path(), at);
    if (r.u32() != kEnd64) fail(Code::mismatch, "the zip64 end record is missing");
    r.skip(8 + 2 + 2 + 4 + 4);
    const uint64_t here = r.u64();
    count_ = r.u64();
    if (here != count_) fail(Code::unsupported, "is a zip archive of several disks");
    *declared = r.u64();
    begin_ = r.u64();
    end_ = at;
    return true;
  }

  void read_central() {
    const auto bytes = read_bytes(file_, begin_, end_ - begin_);
    ByteReader r(bytes, file_.path(), begin_);
    for (uint64_t i = 0; i < count_; ++i) {
      if (r.u32() != kCentral)
        r.fail(Code::mismatch, "zip directory entry " + std::to_string(i) + " is damaged");
      r.skip(4);
      const uint16_t flags = r.u16(), method = r.u16();
      r.skip(4);
      Row row;
      row.entry.crc = r.u32();
      uint64_t packed = r.u32();
      row.entry.size = r.u32();
      const uint16_t name = r.u16(), extra = r.u16(), comment = r.u16();
      r.skip(2 + 2 + 4);
      row.header = r.u32();
      row.entry.name = r.str(name, 65535, "a zip entry's name");
      ByteReader x(r.bytes(extra), file_.path(), r.offset());
      while (x.left() >= 4) {
        const uint16_t id = x.u16(), length = x.u16();
        ByteReader field(x.bytes(length), file_.path(), x.offset());
        if (id != 1) continue;  // zip64: in this order, and only what was all ones
        if (row.entry.size == 0xffffffff) row.entry.size = field.u64();
        if (packed == 0xffffffff) packed = field.u64();
        if (row.header == 0xffffffff) row.header = field.u64();
      }
      r.skip(comment);
      const std::string subject = "zip entry " + quote(row.entry.name) + ": ";
      if (flags & 1) fail(Code::unsupported, subject + "is encrypted");
      row.method = method;
      row.entry.compressed = method != 0;
      if (row.entry.compressed)
        row.entry.size = packed;
      else if (packed != row.entry.size)
        fail(Code::mismatch, subject + "is stored, but its two sizes differ");
      check_name(row.entry.name);
      rows_.push_back(std::move(row));
    }
    if (r.left() != 0) r.fail(Code::mismatch, "the zip directory has more bytes than entries");
  }

  void check_name(const std::string& name) const {
    bool bad = name.empty() || name.starts_with('/') || name.find('\\') != std::string::npos ||
               name.find('\0') != std::string::npos;
    for (size_t begin = 0; begin <= name.size() && !bad;) {
      const size_t end = std::min(name.find('/', begin), name.size());
      bad = name.compare(begin, end - begin, "..") == 0;
      begin = end + 1;
    }
    if (bad) fail(Code::path, "zip entry " + quote(name) + " has an unsafe name");
  }

  void check_local(Row& row) {
    const std::string subject = "zip entry " + quote(row.entry.name) + ": ";
    const uint64_t want = kLocalSize + row.entry.name.size();
    if (row.header > begin_ || want > begin_ - row.header)
      fail(Code::bounds, subject + "its local header lies outside the file");
    const auto bytes = read_bytes(file_, row.header, want);
    ByteReader r(bytes, file_.path(), row.header);
    if (r.u32() != kLocal) fail(Code::mismatch, subject + "has no local header");
    r.skip(2);
    const uint16_t flags = r.u16(), method = r.u16();
    r.skip(4 + 4 + 4 + 4);
    const uint16_t name = r.u16(), extra = r.u16();
    if (flags & 1) fail(Code::unsupported, subject + "is encrypted");
    if (method != row.method || name != row.entry.name.size() ||
        r.str(name, 65535, "a zip entry's name") != row.entry.name)
      fail(Code::mismatch, subject + "its local header contradicts the directory");
    row.entry.offset = row.header + want + extra;
    if (row.entry.offset > begin_ || row.entry.size > begin_ - row.entry.offset)
      fail(Code::bounds, subject + "its data lies outside the file");
  }

  // Two entries over the same bytes are how a small archive claims to be a large one.
  void check_overlap() {
    std::sort(rows_.begin(), rows_.end(),
              [](const Row& a, const Row& b) { return a.header < b.header; });
    for (size_t i = 1; i < rows_.size(); ++i)
      if (rows_[i].header < rows_[i - 1].entry.offset + rows_[i - 1].entry.size)
        fail(Code::overlap, "zip entry " + quote(rows_[i].entry.name) + " shares bytes with " +
                                quote(rows_[i - 1].entry.name));
  }

  const ReadFile& file_;
  const Limits& limits_;
  uint64_t begin_ = 0, end_ = 0, count_ = 0;  // of the central directory
  std::vector<Row> rows_;
};

}  // namespace

std::vector<ZipEntry> read_zip_directory(const ReadFile& file, const Limits& limits) {
  return Directory(file, limits).read();
}

const ZipEntry* find_entry(const std::vector<ZipEntry>& entries, const std::string& name) {
  const auto it =
      std::lower_bound(entries.begin(), entries.end(), name,
                       [](const ZipEntry& e, const std::string& n) { return e.name < n; });
  return it != entries.end() && it->name == name ? &*it : nullptr;
}

uint32_t entry_crc(const ReadFile& file, const ZipEntry& entry) {
  std::vector<std::byte> buffer(std::min<uint64_t>(entry.size, 1 << 20));
  uLong crc = ::crc32(0, nullptr, 0);
  for (uint64_t done = 0; done < entry.size;) {
    const auto piece =
        std::span(buffer).first(std::min<uint64_t>(buffer.size(), entry.size - done));
    file.read(entry.offset + done, piece);
    crc =
        ::crc32(crc, reinterpret_cast<const Bytef*>(piece.data()), static_cast<uInt>(piece.size()));
    done += piece.size();
  }
  return static_cast<uint32_t>(crc);
}

}  // namespace halftone::files
