// Where a code lies in the lines of a tile; the formats are in tiles.h. For the reference and for
// inspection: kernels unpack whole lines.
#pragma once

#include <cstdint>

#include "halftone/kernel/kernels.h"

namespace halftone::kernel {

// Code of row r (0..15), column k of a tile.
inline int code_at(const Tiles& w, const uint8_t* tile, int64_t r, int64_t k) {
  const uint8_t* lines = tile + w.codes_offset;
  if (w.pairs != 0) {
    const int64_t pair = k % 16 / 2;
    return (lines[k / 16 * 64 + pair % 4 * kTileRows + r] >> (pair / 4 * 4 + k % 2 * 2)) & 3;
  }
  const int bits = w.bits;
  const int64_t quad = k / 4 % 8;
  const uint8_t* lane = lines + k / 32 * 64 * bits + r * 4 + k % 4;
  // `width` bits of each quad in lines from `first` on
  const auto plane = [&](int64_t first, int width) {
    const int64_t per_line = 8 / width;
    return (lane[(first + quad / per_line) * 64] >> (width * (quad % per_line))) &
           ((1 << width) - 1);
  };
  switch (bits) {
    case 3: {
      if (quad < 6) return (lane[quad / 2 * 64] >> (3 * (quad % 2))) & 7;
      const int t = (lane[0] >> 6) | ((lane[64] >> 6) << 2) | ((lane[128] >> 6) << 4);
      return quad == 6 ? t & 7 : t >> 3;
    }
    case 5:
      return plane(0, 4) | (plane(4, 1) << 4);
    case 6:
      return plane(0, 4) | (plane(4, 2) << 4);
    case 7:
      return plane(0, 4) | (plane(4, 2) << 4) | (plane(6, 1) << 6);
    default:  // 1, 2, 4, 8
      return plane(0, bits);
  }
}

}  // namespace halftone::kernel
