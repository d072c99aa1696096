// Builds zip archives and pickles byte by byte for tests, well-formed unless told otherwise.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "halftone/files/test_files.h"

namespace halftone::files::testing_files {

struct ZipBuilder {
  struct Entry {
    std::string name, data;
    uint16_t flags = 0x808, method = 0;
    std::string local_name;  // "" : the same
    uint32_t crc_xor = 0;
    int64_t size_change = 0;  // of the sizes in the directory
    int64_t offset_change = 0;
    bool zip64 = false;
  };
  std::vector<Entry> entries;
  bool zip64 = false;
  int64_t directory_offset_change = 0, directory_size_change = 0, count_change = 0;
  std::string comment;

  ZipBuilder& add(const std::string& name, const std::string& data) {
    entries.push_back({name, data, 0x808, 0, {}, 0, 0, 0, false});
    return *this;
  }
  static uint32_t crc(const std::string& data) {
    return static_cast<uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(data.data()), static_cast<uInt>(data.size())));
  }
  std::string bytes() const {
    std::string out, directory;
    for (const Entry& e : entries) {
      const std::string local = e.local_name.empty() ? e.name : e.local_name;
      const uint64_t at = out.size() + static_cast<uint64_t>(e.offset_change);
      const uint64_t size = e.data.size() + static_cast<uint64_t>(e.size_change);
      // As torch writes it: checksum and sizes 0 here, an extra field that pads, a descriptor after
      // the data.
      const std::string pad = "FB" + raw<uint16_t>(6) + "ZZZZZZ";
      out += raw<uint32_t>(0x04034b50) + raw<uint16_t>(0) + raw(e.flags) + raw(e.method) +
             std::string(16, '\0') + raw<uint16_t>(static_cast<uint16_t>(local.size())) +
             raw<uint16_t>(static_cast<uint16_t>(pad.size())) + local + pad + e.data +
             raw<uint32_t>(0x08074b50) + std::string(12, '\0');
      std::string extra;
      if (e.zip64) extra = raw<uint16_t>(1) + raw<uint16_t>(24) + raw(size) + raw(size) + raw(at);
      const auto low = [&](uint64_t x) {
        return raw<uint32_t>(e.zip64 ? 0xffffffffu : static_cast<uint32_t>(x));
      };
      directory += raw<uint32_t>(0x02014b50) + std::string(4, '\0') + raw(e.flags) + raw(e.method) +
                   std::string(4, '\0') + raw<uint32_t>(crc(e.data) ^ e.crc_xor) + low(size) +
                   low(size) + raw<uint16_t>(static_cast<uint16_t>(e.name.size())) +
                   raw<uint16_t>(static_cast<uint16_t>(extra.size())) + std::string(10, '\0') +
                   low(at) + e.name + extra;
    }
    const uint64_t start = out.size() + static_cast<uint64_t>(directory_offset_change);
    const uint64_t size = directory.size() + static_cast<uint64_t>(directory_size_change);
    const uint64_t count = entries.size() + static_cast<uint64_t>(count_change);
    out += directory;
    if (zip64) {
      const uint64_t record = out.size();
      out += raw<uint32_t>(0x06064b50) + raw<uint64_t>(44) + std::string(12, '\0') + raw(count) +
             raw(count) + raw(size) + raw(start);
      out += raw<uint32_t>(0x07064b50) + raw<uint32_t>(0) + raw(record) + raw<uint32_t>(1);
      out += raw<uint32_t>(0x06054b50) + raw<uint32_t>(0) + raw<uint16_t>(0xffff) +
             raw<uint16_t>(0xffff) + raw<uint32_t>(~0u) + raw<uint32_t>(~0u);
    } else {
      out += raw<uint32_t>(0x06054b50) + raw<uint32_t>(0) +
             raw<uint16_t>(static_cast<uint16_t>(count)) +
             raw<uint16_t>(static_cast<uint16_t>(count)) +
             raw<uint32_t>(static_cast<uint32_t>(size)) +
             raw<uint32_t>(static_cast<uint32_t>(start));
    }
    return out + raw<uint16_t>(static_cast<uint16_t>(comment.size())) + comment;
  }
};

// Pieces of pickles.
namespace pickled {
inline std::string text(const std::string& s) {
  return "X" + raw<uint32_t>(static_cast<uint32_t>(s.size())) + s;
}
inline std::string number(int32_t n) { return "J" + raw(n); }
inline std::string long8(int64_t n) { return std::string("\x8a\x08") + raw(n); }
inline std::string global(const std::string& module, const std::string& name) {
  return "c" + module + "\n" + name + "\n";
}
inline std::string tuple(const std::vector<std::string>& items) {
  std::string out = "(";
  for (const auto& item : items) out += item;
  return out + "t";
}
inline std::string storage(const std::string& type, const std::string& key,
                           const std::string& count) {
  return tuple({text("storage"), global("torch", type), text(key), text("cpu"), count}) + "Q";
}
inline std::string ordered_dict() { return global("collections", "OrderedDict") + ")R"; }
inline std::string tensor_v2(const std::string& store, const std::string& offset,
                             const std::string& size, const std::string& stride) {
  return global("torch._utils", "_rebuild_tensor_v2") +
         tuple({store, offset, size, stride, "\x89", ordered_dict()}) + "R";
}
inline std::string program(const std::string& body) { return "\x80\x02" + body + "."; }
inline std::string state_dict(const std::vector<std::pair<std::string, std::string>>& rows) {
  std::string out = "}(";
  for (const auto& [name, value] : rows) out += text(name) + value;
  return program(out + "u");
}
}  // namespace pickled

inline std::string pytorch_archive(const std::string& pickle,
                                   const std::string& record = std::string(16, '\0')) {
  return ZipBuilder{}
      .add("m/data.pkl", pickle)
      .add("m/byteorder", "little")
      .add("m/data/0", record)
      .add("m/version", "3\n")
      .bytes();
}

}  // namespace halftone::files::testing_files
