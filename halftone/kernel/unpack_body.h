// How lines of codes become bytes where it is the same for all vectors of x86. A <isa>_tiles.h
// defines, in its anonymous namespace, Codes (a vector of code bytes), load, with_bits<from, width,
// to>(q, v) and joined_thirds(v0, v1, v2), and after including this, unpack<B>(w, lines, q).

// The bits of codes of 5 to 7 bits above the lowest four, which `q` holds.
template <int B>
inline void add_planes(const uint8_t* lines, Codes (&q)[8]) {
  unrolled<8>([&](auto index) __attribute__((always_inline)) {
    constexpr int I = decltype(index)::kValue;
    if constexpr (B >= 6) q[I] = with_bits<2 * (I % 4), 2, 4>(q[I], load(lines + (4 + I / 4) * 64));
    if constexpr (B == 5) q[I] = with_bits<I, 1, 4>(q[I], load(lines + 4 * 64));
    if constexpr (B == 7) q[I] = with_bits<I, 1, 6>(q[I], load(lines + 6 * 64));
  });
}

// b = 3: bits 6-7 of the three lines put together, quad 6 in the low 3 bits of each byte, quad 7
// above.
inline Codes third(const uint8_t* lines) {
  return joined_thirds(load(lines), load(lines + 64), load(lines + 128));
}

template <int B>
inline void unpack(const Tiles& w, const uint8_t* lines, Codes (&q)[8]);

// What a decoder of single columns needs beside the lines of a turn (turns.h). b = 3: what third()
// gives. Planes: all quads.
template <int B>
struct Rest {
  Codes quad[kPlanes<B> ? 8 : 1];
};
template <int B>
inline void rest_of(const Tiles& w, const uint8_t* lines, Rest<B>& out) {
  if constexpr (kPlanes<B>) unpack<B>(w, lines, out.quad);
  if constexpr (B == 3) out.quad[0] = third(lines);
}
