// The tile registers of AMX-INT8 and AMX-BF16, as far as a product needs them: eight registers of
// up to 16 rows of 64 bytes. Inline assembly and not the compiler's intrinsics, because those of
// GCC 12 do not say which memory they read (ldtilecfg: 8 of its 64 bytes; tileloadd: none).
//
// With HALFTONE_EMULATED_AMX the same names work on plain memory, for tests on machines without
// tiles.
#pragma once

#include <cstdint>

namespace halftone::kernel::amx {
namespace {

// What ldtilecfg reads (Intel SDM, palette 1).
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

#if defined(HALFTONE_EMULATED_AMX)

struct TileState {
  TileConfig config;
  uint8_t data[8][16][64];
};
inline TileState& tile_state() {
  static thread_local TileState state;
  return state;
}

inline void configure(const TileConfig& config) { tile_state().config = config; }
inline void release() {}
template <int T>
inline void tile_zero() {
  __builtin_memset(tile_state().data[T], 0, sizeof(tile_state().data[T]));
}
template <int T>
inline void tile_load(const void* from, int64_t stride) {
  TileState& s = tile_state();
  for (int r = 0; r < s.config.rows[T]; ++r)
    __builtin_memcpy(s.data[T][r], static_cast<const uint8_t*>(from) + r * stride,
                     s.config.row_bytes[T]);
}
template <int T>
inline void tile_store(void* to, int64_t stride) {
  const TileState& s = tile_state();
  for (int r = 0; r < s.config.rows[T]; ++r)
    __builtin_memcpy(static_cast<uint8_t*>(to) + r * stride, s.data[T][r], s.config.row_bytes[T]);
}
template <int C, int A, int B, bool Signed>
inline void multiply_add() {
  TileState& s = tile_state();
  for (int m = 0; m < s.config.rows[A]; ++m)
    for (int n = 0; n < 16; ++n) {
      int32_t sum = 0;
      __builtin_memcpy(&sum, s.data[C][m] + 4 * n, 4);
      for (int k = 0; k < s.config.row_bytes[A]; ++k) {
        const uint8_t b = s.data[B][k / 4][4 * n + k % 4];
        sum += static_cast<int8_t>(s.data[A][m][k]) * (Signed ? static_cast<int8_t>(b) : b);
      }
      __builtin_memcpy(s.data[C][m] + 4 * n, &sum, 4);
    }
}
// C (f32) += A (bf16) x B (bf16) as tdpbf16ps does it.
template <int C, int A, int B>
inline void multiply_add_bf16() {
  TileState& s = tile_state();
  const auto widened = [](const uint8_t* p) {
    uint16_t half = 0;
    __builtin_memcpy(&half, p, 2);
    const uint32_t bits = static_cast<uint32_t>(half) << 16;
    float x = 0;
    __builtin_memcpy(&x, &bits, 4);
    return x;
  };
  for (int m = 0; m < s.config.rows[A]; ++m)
    for (int n = 0; n < 16; ++n) {
      float chain[2] = {0, 0}, sum = 0;
      for (int k = 0; k < s.config.row_bytes[A] / 2; ++k)
        chain[k % 2] = __builtin_fmaf(widened(s.data[A][m] + 2 * k),
                                      widened(s.data[B][k / 2] + 4 * n + k % 2 * 2), chain[k % 2]);
      __builtin_memcpy(&sum, s.data[C][m] + 4 * n, 4);
      sum += chain[0] + chain[1];
      __builtin_memcpy(s.data[C][m] + 4 * n, &sum, 4);
    }
}

#else

inline void configure(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config)); }
inline void release() { asm volatile("tilerelease"); }
template <int T>
inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(T));
}
template <int T>
inline void tile_load(const void* from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
inline void tile_store(void* to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(T) : "memory");
}
// C (int32) += A (s8) x B (s8 or u8), B as quads of k: row k / 4, 4 bytes for each column.
template <int C, int A, int B, bool Signed>
inline void multiply_add() {
  if constexpr (Signed)
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  else
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}
// C (f32) += A (bf16) x B (bf16), B as pairs of k: row k / 2, 2 values for each column.
template <int C, int A, int B>
inline void multiply_add_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

#endif

}  // namespace
}  // namespace halftone::kernel::amx
