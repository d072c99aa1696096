#include "halftone/text/charsmap.h"

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "halftone/base/bytes.h"
#include "halftone/base/error.h"
#include "halftone/text/base64.h"

namespace halftone::text {
namespace {

// Darts-clone units: bits 0-7 label, 8 has a value, 9 the offset is in units of 256, 10-30 offset,
// 31 this is a value.
constexpr uint32_t label(uint32_t unit) { return unit & 0x800000FFu; }
constexpr bool has_value(uint32_t unit) { return (unit >> 8 & 1) != 0; }
constexpr uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & 0x200u) >> 6); }
constexpr uint32_t value(uint32_t unit) { return unit & 0x7FFFFFFFu; }

struct State {
  uint32_t position, depth;
};

}  // namespace

double check_charsmap(std::string_view base64, const std::string& path) {
  const auto fail = [&](Code code, const std::string& fact) {
    throw FileError(code, path, "precompiled_charsmap " + fact);
  };
  const auto decoded = from_base64(base64);
  if (!decoded) fail(Code::value, "is not base64");
  if (decoded->empty()) return 1;
  ByteReader reader(std::as_bytes(std::span(decoded->data(), decoded->size())), path);
  if (reader.size() < 4) fail(Code::truncated, "ends inside its header");
  const uint32_t trie_bytes = reader.u32();
  if (trie_bytes % 4 != 0 || trie_bytes == 0)
    fail(Code::value, "has a trie of " + std::to_string(trie_bytes) + " bytes");
  if (trie_bytes > reader.left()) fail(Code::truncated, "ends inside its trie");
  std::vector<uint32_t> units(trie_bytes / 4);
  for (uint32_t& unit : units) unit = reader.u32();
  const std::string_view texts = std::string_view(*decoded).substr(4 + trie_bytes);
  if (!valid_utf8(texts)) fail(Code::utf8, "holds texts that are not UTF-8");

  // A look-up stands at `position` and tries position ^ byte for any byte, so a whole block of 256
  // units must be there.
  double growth = 1;
  // Equal tails are shared, so a state is reached from many; it counts with its least depth.
  std::vector<uint32_t> least(units.size(), UINT32_MAX);
  std::vector<State> open = {{offset(units[0]), 0}};
  while (!open.empty()) {
    const State at = open.back();
    open.pop_back();
    if ((at.position | 0xFFu) >= units.size())
      fail(Code::value, "has a trie that points past its end");
    if (least[at.position] <= at.depth) continue;
    least[at.position] = at.depth;
    for (uint32_t c = 1; c < 256; ++c) {
      const uint32_t unit = units[at.position ^ c];
      if (label(unit) != c) continue;
      const uint32_t next = (at.position ^ c) ^ offset(unit);
      if (has_value(unit)) {
        if (next >= units.size()) fail(Code::value, "has a trie that points past its end");
        const uint32_t start = value(units[next]);
        if (start >= texts.size()) fail(Code::value, "points past its texts");
        if ((static_cast<unsigned char>(texts[start]) & 0xC0) == 0x80)
          fail(Code::value, "points inside a character");
        const size_t end = std::min(texts.find('\0', start), texts.size());
        growth = std::max(growth, static_cast<double>(end - start) / (at.depth + 1.0));
      }
      open.push_back({next, at.depth + 1});
    }
  }
  return growth;
}

}  // namespace halftone::text
