// safetensors headers. An accepted header must tile its data, and must be accepted again, equal,
// when written out from what was read. Input that begins with '{' is taken as a header alone, so
// that mutations of JSON are not all lost on the length field.
#include <cstring>
#include <string>

#include "fuzz/fuzz.h"
#include "halftone/base/json.h"
#include "halftone/files/safetensors.h"

using namespace halftone;

namespace {

std::string with_length(const std::string& header) {
  const uint64_t n = header.size();
  std::string out(8, '\0');
  std::memcpy(out.data(), &n, 8);
  return out + header;
}

std::string rewritten(const files::SafetensorsHeader& header) {
  Json root = Json::object();
  if (!header.metadata.empty()) root["__metadata__"] = header.metadata;
  for (const auto& e : header.entries) {
    root[e.name] = {{"dtype", e.stored_as}, {"shape", e.shape}, {"data_offsets", {e.begin, e.end}}};
  }
  return root.dump();
}

void check_one(std::span<const std::byte> bytes, uint64_t file_size) {
  files::SafetensorsHeader header;
  if (!fuzz::accepts([&] { header = files::parse_safetensors_header(bytes, file_size, "input"); }))
    return;
  uint64_t position = 0;
  for (const auto& e : header.entries) {
    fuzz::require(e.begin == position && e.end >= e.begin, "ranges tile the data");
    position = e.end;
  }
  fuzz::require(header.data_offset + position == file_size, "the data ends with the file");
  const std::string text = with_length(rewritten(header));
  files::SafetensorsHeader again;
  fuzz::require(fuzz::accepts([&] {
                  again = files::parse_safetensors_header(std::as_bytes(std::span(text)),
                                                          text.size() + position, "again");
                }),
                "what was accepted is accepted again");
  fuzz::require(again.entries.size() == header.entries.size() && again.metadata == header.metadata,
                "and means the same");
  for (size_t i = 0; i < again.entries.size(); ++i)
    fuzz::require(again.entries[i].name == header.entries[i].name &&
                      again.entries[i].shape == header.entries[i].shape &&
                      again.entries[i].begin == header.entries[i].begin &&
                      again.entries[i].stored_as == header.entries[i].stored_as,
                  "entry by entry");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size > 0 && data[0] == '{') {
    const std::string whole = with_length(std::string(reinterpret_cast<const char*>(data), size));
    for (const uint64_t data_bytes : {0u, 2u, 16u, 100u, 24u})
      check_one(std::as_bytes(std::span(whole)), whole.size() + data_bytes);
  }
  check_one(fuzz::as_span(data, size), size);
  return 0;
}
