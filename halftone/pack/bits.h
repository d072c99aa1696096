// Codes in 32-bit words, as compressed-tensors and GPTQ store them: unsigned, lowest bits first.
//
//   dense   code i at bits b*i of one little-endian bit string; codes may straddle words when b is
//           3, 5, 6, 7. b = 3: 32 codes in 3 words, code 10 = 2 bits of word 0 and 1 bit of word 1
//   padded  32/b (rounded down) codes a word, top bits 0: what compressed-tensors before 0.18 wrote
//           for those b
// For b in {1, 2, 4, 8} both are the same.
#pragma once

#include <cstdint>
#include <span>

namespace halftone::pack {

enum class Packing : uint8_t { dense, padded };

int64_t packed_words(int64_t count, int64_t bits, Packing packing = Packing::dense);

// Along a row: words[packed_words(codes.size())] <-> codes.
void unpack_codes(std::span<const uint32_t> words, int64_t bits, Packing packing,
                  std::span<uint8_t> codes);
void pack_codes(std::span<const uint8_t> codes, int64_t bits, std::span<uint32_t> words);

// Down the columns: words [packed_words(count), columns] <-> codes [count, columns], both
// row-major.
void unpack_codes_down(std::span<const uint32_t> words, int64_t columns, int64_t bits,
                       Packing packing, int64_t count, std::span<uint8_t> codes);
void pack_codes_down(std::span<const uint8_t> codes, int64_t columns, int64_t bits, int64_t count,
                     std::span<uint32_t> words);

}  // namespace halftone::pack
