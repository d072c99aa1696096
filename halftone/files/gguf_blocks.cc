#include "halftone/files/gguf_blocks.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "halftone/base/half.h"

namespace halftone::files {
namespace {

// The value tables: IQ4's non-linear levels, and twice the E2M1 values (the block scale carries the
// half).
constexpr std::array<float, 16> kIq4 = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};
constexpr std::array<float, 16> kE2m1Doubled = {0, 1,  2,  3,  4,  6,  8,  12,
                                                0, -1, -2, -3, -4, -6, -8, -12};

const uint8_t* u8(const std::byte* p) { return reinterpret_cast<const uint8_t*>(p); }
float half_at(const uint8_t* p) {
  uint16_t bits;
  std::memcpy(&bits, p, 2);
  return f16_to_f32(bits);
}

// What is made of a weight: its value, or the distance between the values it may have.
struct Value {
  static float of(float scale, float level) { return scale * level; }
  static float of(float scale, float level, float offset) { return scale * level + offset; }
  // Levels that are not a whole number apart, `gap` on average.
  static float uneven(float scale, float level, float /*gap*/) { return scale * level; }
};
struct Step {
  static float of(float scale, float /*level*/, float /*offset*/ = 0) { return std::abs(scale); }
  static float uneven(float scale, float /*level*/, float gap) { return std::abs(scale) * gap; }
};
constexpr float kIq4Gap = (113.0f + 127.0f) / 15, kE2m1Gap = 24.0f / 14, kSignGap = 2;

// Runs f(block bytes, out) over all blocks of a type with N elements in B bytes.
template <int64_t N, int64_t B, class F>
void each_block(const std::byte* in, float* out, int64_t blocks, F&& f) {
  for (int64_t i = 0; i < blocks; ++i) f(u8(in) + i * B, out + i * N);
}

template <class Take>
void q8_0(const std::byte* in, float* out, int64_t blocks) {
  each_block<32, 34>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b);
    for (int i = 0; i < 32; ++i)
      y[i] = Take::of(d, static_cast<float>(static_cast<int8_t>(b[2 + i])));
  });
}

template <class Take>
void q4_0(const std::byte* in, float* out, int64_t blocks) {
  each_block<32, 18>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b);
    for (int i = 0; i < 16; ++i) {
      y[i] = Take::of(d, static_cast<float>((b[2 + i] & 15) - 8));
      y[16 + i] = Take::of(d, static_cast<float>((b[2 + i] >> 4) - 8));
    }
  });
}

template <class Take>
void q4_1(const std::byte* in, float* out, int64_t blocks) {
  each_block<32, 20>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b), m = half_at(b + 2);
    for (int i = 0; i < 16; ++i) {
      y[i] = Take::of(d, static_cast<float>(b[4 + i] & 15), m);
      y[16 + i] = Take::of(d, static_cast<float>(b[4 + i] >> 4), m);
    }
  });
}

template <class Take>
void q5_0(const std::byte* in, float* out, int64_t blocks) {
  each_block<32, 22>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b);
    uint32_t high;
    std::memcpy(&high, b + 2, 4);
    for (int i = 0; i < 16; ++i) {
      y[i] = Take::of(
          d, static_cast<float>(static_cast<int>((b[6 + i] & 15) | ((high >> i) & 1) << 4) - 16));
      y[16 + i] =
          Take::of(d, static_cast<float>(
                          static_cast<int>((b[6 + i] >> 4) | ((high >> (16 + i)) & 1) << 4) - 16));
    }
  });
}

template <class Take>
void q5_1(const std::byte* in, float* out, int64_t blocks) {
  each_block<32, 24>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b), m = half_at(b + 2);
    uint32_t high;
    std::memcpy(&high, b + 4, 4);
    for (int i = 0; i < 16; ++i) {
      y[i] = Take::of(
          d, static_cast<float>(static_cast<int>((b[8 + i] & 15) | ((high >> i) & 1) << 4)), m);
      y[16 + i] = Take::of(
          d, static_cast<float>(static_cast<int>((b[8 + i] >> 4) | ((high >> (16 + i)) & 1) << 4)),
          m);
    }
  });
}

template <class Take>
void iq4_nl(const std::byte* in, float* out, int64_t blocks) {
  each_block<32, 18>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b);
    for (int i = 0; i < 16; ++i) {
      y[i] = Take::uneven(d, kIq4[b[2 + i] & 15], kIq4Gap);
      y[16 + i] = Take::uneven(d, kIq4[b[2 + i] >> 4], kIq4Gap);
    }
  });
}

// 2^(e - 128): the two smallest are subnormal.
float mx_half_scale(uint8_t e) {
  return std::bit_cast<float>(e < 2 ? 0x00200000u << e : static_cast<uint32_t>(e - 1) << 23);
}

template <class Take>
void mxfp4(const std::byte* in, float* out, int64_t blocks) {
  each_block<32, 17>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = mx_half_scale(b[0]);
    for (int i = 0; i < 16; ++i) {
      y[i] = Take::uneven(d, kE2m1Doubled[b[1 + i] & 15], kE2m1Gap);
      y[16 + i] = Take::uneven(d, kE2m1Doubled[b[1 + i] >> 4], kE2m1Gap);
    }
  });
}

// Unsigned E4M3 with the half of E2M1's doubling: 0 and 0x7f mean zero, bit 7 is ignored.
float nv_half_scale(uint8_t x) {
  if (x == 0 || x == 0x7f) return 0.0f;
  const int exponent = (x >> 3) & 15;
  const float mantissa = static_cast<float>(x & 7);
  if (exponent == 0) return mantissa * 0x1p-10f;
  return (1.0f + mantissa / 8.0f) *
         std::bit_cast<float>(static_cast<uint32_t>(exponent - 8 + 127) << 23);
}

template <class Take>
void nvfp4(const std::byte* in, float* out, int64_t blocks) {
  each_block<64, 36>(in, out, blocks, [](const uint8_t* b, float* y) {
    for (int s = 0; s < 4; ++s) {
      const float d = nv_half_scale(b[s]);
      for (int i = 0; i < 8; ++i) {
        y[16 * s + i] = Take::uneven(d, kE2m1Doubled[b[4 + 8 * s + i] & 15], kE2m1Gap);
        y[16 * s + 8 + i] = Take::uneven(d, kE2m1Doubled[b[4 + 8 * s + i] >> 4], kE2m1Gap);
      }
    }
  });
}

template <class Take>
void q2_k(const std::byte* in, float* out, int64_t blocks) {
  each_block<256, 84>(in, out, blocks, [](const uint8_t* b, float* y) {
    const uint8_t *scales = b, *qs = b + 16;
    const float d = half_at(b + 80), dmin = half_at(b + 82);
    for (int g = 0; g < 16; ++g) {  // 16 elements share a scale
      const float scale = d * static_cast<float>(scales[g] & 15),
                  minimum = dmin * static_cast<float>(scales[g] >> 4);
      const int n = g / 8, j = (g % 8) / 2, l = 16 * (g % 2);
      for (int i = 0; i < 16; ++i)
        y[16 * g + i] =
            Take::of(scale, static_cast<float>((qs[32 * n + l + i] >> (2 * j)) & 3), -minimum);
    }
  });
}

template <class Take>
void q3_k(const std::byte* in, float* out, int64_t blocks) {
  each_block<256, 110>(in, out, blocks, [](const uint8_t* b, float* y) {
    const uint8_t *high = b, *qs = b + 32, *sc = b + 96;
    const float d = half_at(b + 108);
    for (int g = 0; g < 16; ++g) {
      const int low4 = g < 8 ? sc[g] & 15 : sc[g - 8] >> 4;
      const int s = low4 | ((sc[8 + g % 4] >> (2 * (g / 4))) & 3) << 4;
      const float scale = d * static_cast<float>(s - 32);
      const int n = g / 8, j = (g % 8) / 2, l = 16 * (g % 2);
      for (int i = 0; i < 16; ++i) {
        const int q = ((qs[32 * n + l + i] >> (2 * j)) & 3) | ((high[l + i] >> (4 * n + j)) & 1)
                                                                  << 2;
        y[16 * g + i] = Take::of(scale, static_cast<float>(q - 4));
      }
    }
  });
}

struct ScaleMin {
  int scale, minimum;
};
// Eight pairs of 6 bits in 12 bytes (Q4_K, Q5_K).
ScaleMin scale_min(const uint8_t* s, int b) {
  if (b < 4) return {s[b] & 63, s[b + 4] & 63};
  return {(s[b + 4] & 15) | (s[b - 4] >> 6) << 4, (s[b + 4] >> 4) | (s[b] >> 6) << 4};
}

template <class Take>
void q4_k(const std::byte* in, float* out, int64_t blocks) {
  each_block<256, 144>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b), dmin = half_at(b + 2);
    const uint8_t* qs = b + 16;
    for (int g = 0; g < 8; ++g) {
      const ScaleMin sm = scale_min(b + 4, g);
      const float scale = d * static_cast<float>(sm.scale),
                  minimum = dmin * static_cast<float>(sm.minimum);
      const int shift = 4 * (g % 2);
      for (int i = 0; i < 32; ++i)
        y[32 * g + i] =
            Take::of(scale, static_cast<float>((qs[32 * (g / 2) + i] >> shift) & 15), -minimum);
    }
  });
}

template <class Take>
void q5_k(const std::byte* in, float* out, int64_t blocks) {
  each_block<256, 176>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b), dmin = half_at(b + 2);
    const uint8_t *high = b + 16, *qs = b + 48;
    for (int g = 0; g < 8; ++g) {
      const ScaleMin sm = scale_min(b + 4, g);
      const float scale = d * static_cast<float>(sm.scale),
                  minimum = dmin * static_cast<float>(sm.minimum);
      const int shift = 4 * (g % 2);
      for (int i = 0; i < 32; ++i) {
        const int q = ((qs[32 * (g / 2) + i] >> shift) & 15) | ((high[i] >> g) & 1) << 4;
        y[32 * g + i] = Take::of(scale, static_cast<float>(q), -minimum);
      }
    }
  });
}

template <class Take>
void q6_k(const std::byte* in, float* out, int64_t blocks) {
  each_block<256, 210>(in, out, blocks, [](const uint8_t* b, float* y) {
    const uint8_t *low = b, *high = b + 128, *sc = b + 192;
    const float d = half_at(b + 208);
    for (int g = 0; g < 16; ++g) {
      const float scale = d * static_cast<float>(static_cast<int8_t>(sc[g]));
      const int n = g / 8, q = (g % 8) / 2, l = 16 * (g % 2);
      for (int i = 0; i < 16; ++i) {
        const int x = ((low[64 * n + 32 * (q & 1) + l + i] >> (4 * (q >> 1))) & 15) |
                      ((high[32 * n + l + i] >> (2 * q)) & 3) << 4;
        y[16 * g + i] = Take::of(scale, static_cast<float>(x - 32));
      }
    }
  });
}

template <class Take>
void iq4_xs(const std::byte* in, float* out, int64_t blocks) {
  each_block<256, 136>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b);
    const unsigned high = static_cast<unsigned>(b[2]) | static_cast<unsigned>(b[3]) << 8;
    const uint8_t *low = b + 4, *qs = b + 8;
    for (int g = 0; g < 8; ++g) {
      const int s = ((low[g / 2] >> (4 * (g % 2))) & 15) | static_cast<int>((high >> (2 * g)) & 3)
                                                               << 4;
      const float scale = d * static_cast<float>(s - 32);
      for (int i = 0; i < 16; ++i) {
        y[32 * g + i] = Take::uneven(scale, kIq4[qs[16 * g + i] & 15], kIq4Gap);
        y[32 * g + 16 + i] = Take::uneven(scale, kIq4[qs[16 * g + i] >> 4], kIq4Gap);
      }
    }
  });
}

// Five ternary digits in a byte: multiplied by 3^n (mod 256), the top digit is the byte times 3,
// high part.
float trit(uint8_t byte, int n) {
  static constexpr uint8_t kPower[] = {1, 3, 9, 27, 81};
  const auto shifted = static_cast<uint8_t>(byte * kPower[n]);
  return static_cast<float>(((shifted * 3) >> 8) - 1);
}

template <class Take>
void tq1_0(const std::byte* in, float* out, int64_t blocks) {
  each_block<256, 54>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b + 52);
    for (int n = 0; n < 5; ++n) {
      for (int i = 0; i < 32; ++i) y[32 * n + i] = Take::of(d, trit(b[i], n));
      for (int i = 0; i < 16; ++i) y[160 + 16 * n + i] = Take::of(d, trit(b[32 + i], n));
    }
    for (int n = 0; n < 4; ++n)
      for (int i = 0; i < 4; ++i) y[240 + 4 * n + i] = Take::of(d, trit(b[48 + i], n));
  });
}

template <class Take>
void tq2_0(const std::byte* in, float* out, int64_t blocks) {
  each_block<256, 66>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b + 64);
    for (int n = 0; n < 2; ++n)
      for (int j = 0; j < 4; ++j)
        for (int i = 0; i < 32; ++i)
          y[128 * n + 32 * j + i] =
              Take::of(d, static_cast<float>(((b[32 * n + i] >> (2 * j)) & 3) - 1));
  });
}

template <class Take>
void q1_0(const std::byte* in, float* out, int64_t blocks) {
  each_block<128, 18>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b);
    for (int i = 0; i < 128; ++i)
      y[i] = Take::uneven(d, (b[2 + i / 8] >> (i % 8)) & 1 ? 1.0f : -1.0f, kSignGap);
  });
}

template <class Take>
void q2_0(const std::byte* in, float* out, int64_t blocks) {
  each_block<64, 18>(in, out, blocks, [](const uint8_t* b, float* y) {
    const float d = half_at(b);
    for (int i = 0; i < 64; ++i)
      y[i] = Take::of(d, static_cast<float>(((b[2 + i / 4] >> (2 * (i % 4))) & 3) - 1));
  });
}

constexpr std::array kTypes = {
    BlockType{0, "f32", 1, 4, DType::f32},
    BlockType{1, "f16", 1, 2, DType::f16},
    BlockType{2, "q4_0", 32, 18, {}, q4_0<Value>, q4_0<Step>},
    BlockType{3, "q4_1", 32, 20, {}, q4_1<Value>, q4_1<Step>},
    BlockType{6, "q5_0", 32, 22, {}, q5_0<Value>, q5_0<Step>},
    BlockType{7, "q5_1", 32, 24, {}, q5_1<Value>, q5_1<Step>},
    BlockType{8, "q8_0", 32, 34, {}, q8_0<Value>, q8_0<Step>},
    BlockType{9, "q8_1", 32, 40, {}},
    BlockType{10, "q2_k", 256, 84, {}, q2_k<Value>, q2_k<Step>},
    BlockType{11, "q3_k", 256, 110, {}, q3_k<Value>, q3_k<Step>},
    BlockType{12, "q4_k", 256, 144, {}, q4_k<Value>, q4_k<Step>},
    BlockType{13, "q5_k", 256, 176, {}, q5_k<Value>, q5_k<Step>},
    BlockType{14, "q6_k", 256, 210, {}, q6_k<Value>, q6_k<Step>},
    BlockType{15, "q8_k", 256, 292, {}},
    BlockType{16, "iq2_xxs", 256, 66, {}},
    BlockType{17, "iq2_xs", 256, 74, {}},
    BlockType{18, "iq3_xxs", 256, 98, {}},
    BlockType{19, "iq1_s", 256, 50, {}},
    BlockType{20, "iq4_nl", 32, 18, {}, iq4_nl<Value>, iq4_nl<Step>},
    BlockType{21, "iq3_s", 256, 110, {}},
    BlockType{22, "iq2_s", 256, 82, {}},
    BlockType{23, "iq4_xs", 256, 136, {}, iq4_xs<Value>, iq4_xs<Step>},
    BlockType{24, "i8", 1, 1, DType::i8},
    BlockType{25, "i16", 1, 2, DType::i16},
    BlockType{26, "i32", 1, 4, DType::i32},
    BlockType{27, "i64", 1, 8, DType::i64},
    BlockType{28, "f64", 1, 8, DType::f64},
    BlockType{29, "iq1_m", 256, 56, {}},
    BlockType{30, "bf16", 1, 2, DType::bf16},
    BlockType{34, "tq1_0", 256, 54, {}, tq1_0<Value>, tq1_0<Step>},
    BlockType{35, "tq2_0", 256, 66, {}, tq2_0<Value>, tq2_0<Step>},
    BlockType{39, "mxfp4", 32, 17, {}, mxfp4<Value>, mxfp4<Step>},
    BlockType{40, "nvfp4", 64, 36, {}, nvfp4<Value>, nvfp4<Step>},
    BlockType{41, "q1_0", 128, 18, {}, q1_0<Value>, q1_0<Step>},
    BlockType{42, "q2_0", 64, 18, {}, q2_0<Value>, q2_0<Step>},
};

}  // namespace

std::span<const BlockType> block_types() { return kTypes; }

const BlockType* block_type(uint32_t id) {
  for (const BlockType& type : kTypes)
    if (type.id == id) return &type;
  return nullptr;
}

const BlockType* block_type(std::string_view name) {
  for (const BlockType& type : kTypes)
    if (type.name == name) return &type;
  return nullptr;
}

}  // namespace halftone::files
