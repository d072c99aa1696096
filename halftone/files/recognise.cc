#include "halftone/files/recognise.h"

#include <algorithm>
#include <array>
#include <cctype>

#include "halftone/base/error.h"

namespace halftone::files {
namespace {

bool looks_like_html(std::string_view text) {
  while (!text.empty() &&
         (std::isspace(static_cast<unsigned char>(text[0])) || text.starts_with("\xEF\xBB\xBF")))
    text.remove_prefix(text[0] == '\xEF' ? 3 : 1);
  std::string lower(text.substr(0, 15));
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower.starts_with("<!doctype html") || lower.starts_with("<html") ||
         lower.starts_with("<head") || lower.starts_with("<?xml");
}

}  // namespace

FileKind recognise(std::span<const std::byte> head) {
  using namespace std::string_view_literals;
  const std::string_view text(reinterpret_cast<const char*>(head.data()), head.size());
  if (text.empty()) return FileKind::empty;
  if (text.starts_with("GGUF")) return FileKind::gguf;
  if (text.starts_with("PK\3\4") || text.starts_with("PK\5\6")) return FileKind::zip;
  if (text.starts_with("version https://git-lfs")) return FileKind::lfs_pointer;
  if (text.starts_with("7z\xBC\xAF\x27\x1C")) return FileKind::seven_zip;
  if (text.starts_with("\x28\xB5\x2F\xFD")) return FileKind::zstd;
  if (text.starts_with("\xFD"
                       "7zXZ"))
    return FileKind::xz;
  // A length of at most 2^32 and a brace: gzip's magic can begin such a length, so this comes
  // first.
  if (text.size() > 8 && text[8] == '{' && text.substr(4, 4) == "\0\0\0\0"sv)
    return FileKind::safetensors;
  if (text.starts_with("\x1F\x8B")) return FileKind::gzip;
  if (text.size() > 2 && text[0] == '\x80' && text[1] >= 2 && text[1] <= 5) return FileKind::pickle;
  if (looks_like_html(text)) return FileKind::html;
  if (text[0] == '{' || text[0] == '[') return FileKind::json_text;
  return FileKind::unknown;
}

FileKind recognise(const ReadFile& file) {
  std::array<std::byte, kRecogniseBytes> head;
  const auto n = static_cast<size_t>(std::min<uint64_t>(head.size(), file.size()));
  file.read(0, std::span(head).first(n));
  return recognise(std::span(head).first(n));
}

void refuse_usual_mistakes(std::span<const std::byte> head, const std::string& path,
                           std::string_view wanted) {
  const std::string want(wanted);
  switch (recognise(head)) {
    case FileKind::empty:
      throw FileError(Code::truncated, path, "the file is empty", {}, "download it again");
    case FileKind::lfs_pointer:
      throw FileError(Code::magic, path,
                      "is a Git LFS pointer, not the " + want + " file it stands for", {},
                      "run `git lfs pull` in its folder, or download the file itself");
    case FileKind::html:
      throw FileError(Code::magic, path, "is a web page, not a " + want + " file", {},
                      "download the file itself (the address must contain /resolve/, not /blob/)");
    case FileKind::gzip:
      throw FileError(Code::magic, path, "is gzip-compressed, not a " + want + " file", {},
                      "unpack it with gunzip");
    case FileKind::seven_zip:
      throw FileError(Code::magic, path, "is a 7z archive, not a " + want + " file", {},
                      "unpack it first");
    case FileKind::zstd:
      throw FileError(Code::magic, path, "is zstd-compressed, not a " + want + " file", {},
                      "unpack it with unzstd");
    case FileKind::xz:
      throw FileError(Code::magic, path, "is xz-compressed, not a " + want + " file", {},
                      "unpack it with unxz");
    case FileKind::gguf:
      if (want != "GGUF")
        throw FileError(Code::magic, path, "is a GGUF file, not a " + want + " file", {},
                        "name it .gguf");
      return;
    case FileKind::safetensors:
      if (want != "safetensors")
        throw FileError(Code::magic, path, "is a safetensors file, not a " + want + " file", {},
                        "name it .safetensors");
      return;
    case FileKind::zip:
      if (want != "pytorch")
        throw FileError(Code::magic, path, "is a zip archive, not a " + want + " file", {},
                        "a PyTorch checkpoint is named pytorch_model.bin");
      return;
    default:
      return;
  }
}

}  // namespace halftone::files
