// The loops of limits.h. A limits_<isa>.cc file defines `struct Lanes` in its anonymous namespace and
// includes this there, so every copy is private to the flags it was compiled with.
//
// Lanes: Register, kBytes of it, load(p), combine(a, b), fold(register) -> uint64_t.

uint64_t fold4(const Lanes::Register* sum) noexcept {
  return Lanes::fold(
      Lanes::combine(Lanes::combine(sum[0], sum[1]), Lanes::combine(sum[2], sum[3])));
}

uint64_t read1(const uint8_t* stream, int64_t bytes) noexcept {
  Lanes::Register sum[4] = {};
  for (int64_t i = 0; i < bytes; i += 4 * Lanes::kBytes)
    for (int64_t j = 0; j < 4; ++j)
      sum[j] = Lanes::combine(sum[j], Lanes::load(stream + i + Lanes::kBytes * j));
  return fold4(sum);
}

uint64_t read4(const uint8_t* const* streams, int64_t bytes) noexcept {
  Lanes::Register sum[4] = {};
  for (int64_t i = 0; i < bytes; i += 64)
    for (int j = 0; j < 4; ++j)
      for (int64_t line = 0; line < 64; line += Lanes::kBytes)
        sum[j] = Lanes::combine(sum[j], Lanes::load(streams[j] + i + line));
  return fold4(sum);
}

// A function NAME(rounds) that runs STEP once a round for each register \i of SUMS, all of them
// independent; FIRST runs once before. Registers that STEP only reads hold whatever they held.
#define HALFTONE_PEAK(NAME, FIRST, SUMS, STEP, CLOBBERED)                               \
  void NAME(int64_t rounds) noexcept {                                                  \
    asm volatile(FIRST "1:\n.irp i," SUMS "\n" STEP "\n.endr\ndec %[rounds]\n jnz 1b\n" \
                 : [rounds] "+r"(rounds)                                                \
                 :                                                                      \
                 : "cc", CLOBBERED);                                                    \
  }
