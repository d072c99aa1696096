// GGUF headers and metadata. Every range of an accepted file lies inside it, no two overlap, and
// every tensor can be read or is refused by name. Input without the magic is taken as what follows
// the counts, so that mutations reach keys and tensors.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"
#include "halftone/files/gguf.h"
#include "halftone/files/memory_file.h"

using namespace halftone;

namespace {

void check_one(std::span<const std::byte> bytes) {
  Limits limits;
  std::shared_ptr<files::GgufFile> file;
  uint64_t need = 0;
  const bool ok = fuzz::accepts(
      [&] { file = files::parse_gguf_header(bytes, bytes.size(), "input", limits, &need); });
  // Read piece by piece it must come to the same end.
  std::shared_ptr<files::GgufFile> pieces;
  uint64_t have = std::min<uint64_t>(24, bytes.size());
  const bool ok_pieces = fuzz::accepts([&] {
    for (;;) {
      pieces = files::parse_gguf_header(bytes.first(have), bytes.size(), "input", limits, &need);
      if (pieces) return;
      fuzz::require(need > have && need <= bytes.size(),
                    "more is asked for, and no more than there is");
      have = std::min<uint64_t>(bytes.size(), std::max(need, 2 * have));
    }
  });
  fuzz::require(ok == ok_pieces, "reading in pieces gives the same answer");
  if (!ok) return;
  fuzz::require(file->tensors.size() == pieces->tensors.size() &&
                    file->metadata.size() == pieces->metadata.size(),
                "and the same tables");
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  uint64_t elements = 0;
  for (const auto& t : file->tensors) {
    fuzz::require(t.offset <= bytes.size() && t.bytes <= bytes.size() - t.offset,
                  "every range lies inside the file");
    ranges.emplace_back(t.offset, t.offset + t.bytes);
    elements += static_cast<uint64_t>(element_count(t.shape));
  }
  std::sort(ranges.begin(), ranges.end());
  for (size_t i = 1; i < ranges.size(); ++i)
    fuzz::require(ranges[i].first >= ranges[i - 1].second, "no two ranges overlap");
  fuzz::accepts([&] { files::check_gguf_metadata(*file, limits); });
  for (const auto& [key, value] : file->metadata) {
    fuzz::require(file->find(key) == &value, "every key is found");
    fuzz::accepts([&] { file->integer(key, INT64_MIN, INT64_MAX); });
    fuzz::accepts([&] { file->number(key); });
    fuzz::accepts([&] { file->boolean(key); });
    fuzz::accepts([&] { file->text(key); });
    fuzz::accepts([&] { file->strings(key); });
    fuzz::accepts([&] { file->integers(key); });
    fuzz::accepts([&] { file->numbers(key); });
  }
  file->parts.push_back(std::make_shared<files::MemoryFile>(bytes, "input"));
  std::shared_ptr<const files::TensorSource> source;
  if (elements > 1 << 22 || !fuzz::accepts([&] { source = files::gguf_tensors(file); })) return;
  for (const auto& info : source->tensors()) {
    fuzz::accepts([&] {
      const HostTensor whole = source->read(info.name);
      fuzz::require(whole.shape() == info.shape, "a tensor has the shape that was declared");
      if (!info.shape.empty()) source->read_rows(info.name, 0, 1);
      source->mapped(info.name);
    });
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  check_one(fuzz::as_span(data, size));
  if (size > 2 && size < 4096 && std::memcmp(data, "GG", 2) != 0) {
    const uint64_t counts[2] = {data[0] & 3u, data[1] & 7u};
    std::string whole("GGUF\3\0\0\0", 8);
    whole.append(reinterpret_cast<const char*>(counts), 16);
    whole.append(reinterpret_cast<const char*>(data) + 2, size - 2);
    check_one(std::as_bytes(std::span(whole)));
  }
  return 0;
}
