// What a file is by its first bytes, and the usual mistakes: a Git LFS pointer, a web page, an
// archive, nothing at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "halftone/base/env.h"

namespace halftone::files {

enum class FileKind : uint8_t {
  empty,
  gguf,
  safetensors,
  zip,
  pickle,
  lfs_pointer,
  html,
  gzip,
  seven_zip,
  zstd,
  xz,
  json_text,
  unknown
};

constexpr size_t kRecogniseBytes = 512;

// `head` is the start of the file, up to kRecogniseBytes. `safetensors` means: 8 bytes of length,
// then '{'.
FileKind recognise(std::span<const std::byte> head);
FileKind recognise(const ReadFile& file);

// Throws FileError naming the mistake and the remedy when `head` begins one (empty: E_TRUNC,
// others: E_MAGIC); returns otherwise. Readers call it once their own header did not fit, so that a
// legal file is never mistaken.
void refuse_usual_mistakes(std::span<const std::byte> head, const std::string& path,
                           std::string_view wanted);

}  // namespace halftone::files
