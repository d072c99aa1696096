// How activations become int8 codes with a scale a block, and tables of pairs (activations.h), the
// same on every instruction set. A quantize_<isa>.cc file defines, in its anonymous namespace,
// largest_bits (the bits of the largest magnitude), spread (one float in every lane) and encode32
// (32 codes and their sums, two int16 as IntMatmul::sums has them), and largest_pair and tables32,
// the same of tables; it includes this there, so every copy is private to the flags it was compiled
// with.

inline int32_t add_halves(int32_t a, int32_t b) {
  const uint32_t low = (static_cast<uint32_t>(a) + static_cast<uint32_t>(b)) & 0xffffu;
  const uint32_t high = ((static_cast<uint32_t>(a) >> 16) + (static_cast<uint32_t>(b) >> 16)) << 16;
  return static_cast<int32_t>(high | low);
}

inline void quantize_rows(const Quantize& job) {
  const int64_t R = job.rows_per_panel;
  for (int64_t row = job.row_begin; row < (job.row_end + R - 1) / R * R; ++row) {
    const int64_t panel = row / R * R, i = row % R;
    int8_t* codes = job.codes + panel * job.padded_cols;
    for (int64_t begin = 0; begin < job.padded_cols; begin += job.block) {
      const int64_t end = smaller(begin + job.block, job.padded_cols);
      const int64_t filled = row < job.m ? smaller(end, job.cols) - begin : 0;
      const float* x = job.x + row * job.ldx + begin;
      const uint32_t bits = largest_bits(x, filled);
      float most = 0;
      __builtin_memcpy(&most, &bits, 4);
      const bool fixed = job.fixed > 0;
      const bool finite = bits < 0x7f800000u, zero = !finite || (!fixed && most < kLeastActivation);
      const float a = !finite ? __builtin_nanf("")
                      : fixed ? job.fixed
                      : zero  ? 0.0f
                              : most / 127.0f;
      const auto inverse = spread(zero ? 0.0f : fixed ? 1.0f / job.fixed : 127.0f / most);
      for (int64_t u = begin / job.unit; u * job.unit < end; ++u) {
        int32_t sum = 0;
        for (int64_t k = u * job.unit; k < smaller(end, (u + 1) * job.unit); k += kTileCols) {
          const int64_t at = k - begin;
          if (R == 1 || job.depth >= kTileCols) {
            const int64_t place =
                R == 1 ? k : (k - k % job.depth) * R + i * job.depth + k % job.depth;
            sum = add_halves(sum, encode32(x + at, zero ? 0 : filled - at, inverse, codes + place));
          } else {
            alignas(32) int8_t quads[kTileCols];
            sum = add_halves(sum, encode32(x + at, zero ? 0 : filled - at, inverse, quads));
            if (kWidePanels && job.wide) {
              auto* to = reinterpret_cast<int16_t*>(job.codes) + panel * job.padded_cols + k * R;
              for (int64_t q = 0; q < kTileCols / 4; ++q) {
                int16_t* pairs = to + q * 4 * R + 2 * i;
                pairs[0] = quads[4 * q], pairs[1] = quads[4 * q + 2];
                pairs[2 * R] = quads[4 * q + 1], pairs[2 * R + 1] = quads[4 * q + 3];
              }
              continue;
            }
            for (int64_t q = 0; q < kTileCols / 4; ++q) {
              uint32_t four = 0;
              __builtin_memcpy(&four, quads + 4 * q, 4);
              four ^= kPanelBias * 0x01010101u;  // + 128, byte by byte
              __builtin_memcpy(codes + (k + 4 * q) * R + i * 4, &four, 4);
            }
          }
        }
        job.a[panel * job.units + u * R + i] = a;
        job.sums[panel * job.units + u * R + i] = sum;
      }
    }
  }
}

inline void tabulate_rows(const Quantize& job) {
  for (int64_t row = job.row_begin; row < job.row_end; ++row) {
    const float* x = job.x + row * job.ldx;
    for (int64_t u = 0; u < job.units; ++u) {
      const int64_t begin = u * job.unit, end = smaller(begin + job.unit, job.padded_cols),
                    filled = smaller(end, job.cols) - begin;
      const uint32_t bits = largest_pair(x + begin, filled);
      float most = 0;
      __builtin_memcpy(&most, &bits, 4);
      const bool finite = bits < 0x7f800000u, zero = !finite || most < kLeastActivation;
      const float inverse = zero ? 0.0f : kPairRange / most;
      int32_t sum = 0;
      for (int64_t k = begin; k < end; k += kTileCols)
        sum += tables32(x + k, zero ? 0 : filled - (k - begin), inverse,
                        reinterpret_cast<uint8_t*>(job.codes) + (row * job.padded_cols + k) * 8);
      job.a[row * job.units + u] = !finite ? __builtin_nanf("")
                                   : zero  ? 0.0f
                                           : most / (2 * kPairRange);
      job.sums[row * job.units + u] = sum;
    }
  }
}
