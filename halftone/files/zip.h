// The zip archives that PyTorch writes: entries read in place, nothing ever unpacked.
//
// The central directory is the authority on sizes and checksums (torch leaves them 0 in local
// headers); each local header must agree on name and method, because it alone tells where the data
// begins.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "halftone/base/env.h"
#include "halftone/base/limits.h"

namespace halftone::files {

struct ZipEntry {
  std::string name;
  uint64_t offset = 0, size = 0;  // of the bytes in the file
  uint32_t crc = 0;
  bool compressed = false;  // listed only: readers refuse it by name
};

// Entries sorted by name. Errors: E_MAGIC, E_TRUNC, E_BOUNDS, E_OVERLAP, E_DUP, E_PATH, E_MISMATCH,
// E_LIMIT, and E_UNSUPPORTED for encrypted entries.
std::vector<ZipEntry> read_zip_directory(const ReadFile& file, const Limits& limits);
const ZipEntry* find_entry(const std::vector<ZipEntry>& entries, const std::string& name);

// CRC-32 of the entry's data (zlib's).
uint32_t entry_crc(const ReadFile& file, const ZipEntry& entry);

}  // namespace halftone::files
