#include "halftone/pack/bits.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "halftone/base/error.h"

namespace halftone::pack {
namespace {

static_assert(std::endian::native == std::endian::little, "bytes of words are read in order");

// Where code i lies: word, shift, and how many of its bits spill into the next word.
struct Place {
  int64_t word;
  int shift, spill;
};
Place place_of(int64_t i, int64_t bits, Packing packing) {
  if (packing == Packing::padded) {
    const int64_t per_word = 32 / bits;
    return {i / per_word, static_cast<int>(i % per_word * bits), 0};
  }
  const int64_t bit = i * bits;
  const int shift = static_cast<int>(bit % 32);
  return {bit / 32, shift, std::max(0, shift + static_cast<int>(bits) - 32)};
}

}  // namespace

int64_t packed_words(int64_t count, int64_t bits, Packing packing) {
  if (packing == Packing::padded) {
    const int64_t per_word = 32 / bits;
    return (count + per_word - 1) / per_word;
  }
  return (count * bits + 31) / 32;
}

void unpack_codes(std::span<const uint32_t> words, int64_t bits, Packing packing,
                  std::span<uint8_t> codes) {
  const auto count = static_cast<int64_t>(codes.size());
  if (packing == Packing::padded) return unpack_codes_down(words, 1, bits, packing, count, codes);
  check(static_cast<int64_t>(words.size()) == packed_words(count, bits),
        "packed words and codes do not fit together");
  // Eight codes are `bits` bytes. Halves move apart: 4 + 4 codes into 32 bits each, 2 + 2 into 16, 1
  // + 1 into 8.
  const auto low = [](int64_t n) { return (uint64_t{1} << n) - 1; };
  const uint64_t four = low(4 * bits), two = low(2 * bits) * 0x0000000100000001u,
                 one = low(bits) * 0x0001000100010001u;
  const auto bytes = std::as_bytes(words);
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const auto at = static_cast<size_t>(i / 8 * bits);
    uint64_t x = 0;
    std::memcpy(&x, bytes.data() + at, std::min(bytes.size() - at, size_t{8}));
    x = (x & four) | (((x >> (4 * bits)) & four) << 32);
    x = (x & two) | ((x & (two << (2 * bits))) << (16 - 2 * bits));
    x = (x & one) | ((x & (one << bits)) << (8 - bits));
    std::memcpy(codes.data() + i, &x, 8);
  }
  const uint32_t mask = (1u << bits) - 1;
  for (; i < count; ++i) {
    const Place p = place_of(i, bits, packing);
    const auto w = static_cast<size_t>(p.word);
    uint32_t code = words[w] >> p.shift;
    if (p.spill > 0) code |= words[w + 1] << (32 - p.shift);
    codes[static_cast<size_t>(i)] = static_cast<uint8_t>(code & mask);
  }
}

void pack_codes(std::span<const uint8_t> codes, int64_t bits, std::span<uint32_t> words) {
  pack_codes_down(codes, 1, bits, static_cast<int64_t>(codes.size()), words);
}

void unpack_codes_down(std::span<const uint32_t> words, int64_t columns, int64_t bits,
                       Packing packing, int64_t count, std::span<uint8_t> codes) {
  check(static_cast<int64_t>(words.size()) == packed_words(count, bits, packing) * columns &&
            static_cast<int64_t>(codes.size()) == count * columns,
        "packed words and codes do not fit together");
  const uint32_t mask = (1u << bits) - 1;
  for (int64_t i = 0; i < count; ++i) {
    const Place p = place_of(i, bits, packing);
    const uint32_t* low = words.data() + p.word * columns;
    uint8_t* out = codes.data() + i * columns;
    if (p.spill == 0) {
      for (int64_t c = 0; c < columns; ++c)
        out[c] = static_cast<uint8_t>((low[c] >> p.shift) & mask);
    } else {
      const uint32_t* high = low + columns;
      for (int64_t c = 0; c < columns; ++c)
        out[c] = static_cast<uint8_t>(((low[c] >> p.shift) | (high[c] << (32 - p.shift))) & mask);
    }
  }
}

void pack_codes_down(std::span<const uint8_t> codes, int64_t columns, int64_t bits, int64_t count,
                     std::span<uint32_t> words) {
  check(static_cast<int64_t>(words.size()) == packed_words(count, bits) * columns &&
            static_cast<int64_t>(codes.size()) == count * columns,
        "codes and packed words do not fit together");
  std::fill(words.begin(), words.end(), 0u);
  for (int64_t i = 0; i < count; ++i) {
    const Place p = place_of(i, bits, Packing::dense);
    uint32_t* low = words.data() + p.word * columns;
    const uint8_t* in = codes.data() + i * columns;
    for (int64_t c = 0; c < columns; ++c) low[c] |= static_cast<uint32_t>(in[c]) << p.shift;
    if (p.spill > 0)
      for (int64_t c = 0; c < columns; ++c)
        low[c + columns] |= static_cast<uint32_t>(in[c]) >> (32 - p.shift);
  }
}

}  // namespace halftone::pack
