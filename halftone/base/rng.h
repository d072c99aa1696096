// Two generators: one of ours, addressed by counter, and Python's, for windows that must equal
// those of the GPTQ scripts.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace halftone {

// Philox 4x32-10 (Salmon et al. 2011): value i of stream (seed, a, b) never depends on how many
// were drawn before, so results do not depend on threads or order.
class CounterRng {
 public:
  CounterRng(uint64_t seed, uint32_t a = 0, uint32_t b = 0) : seed_(seed), a_(a), b_(b) {}
  std::array<uint32_t, 4> block(uint64_t counter) const;
  uint32_t u32(uint64_t i) const { return block(i / 4)[i % 4]; }
  double uniform(uint64_t i) const;  // [0, 1), 53 bits
  double normal(uint64_t i) const;   // Box-Muller on value 2i and 2i+1
 private:
  uint64_t seed_;
  uint32_t a_, b_;
};

// random.Random(seed) of CPython: MT19937 seeded by init_by_array. The parts that calibration
// windows and few-shot samples use.
class PythonRandom {
 public:
  explicit PythonRandom(uint64_t seed);
  uint32_t next32();
  uint64_t getrandbits(int bits);              // 1..64
  int64_t randint(int64_t low, int64_t high);  // both ends included
  double random();
  // random.sample(range(population), count): distinct, in the order of CPython. count <=
  // population.
  std::vector<int64_t> sample(int64_t population, int64_t count);

 private:
  void refill();
  std::array<uint32_t, 624> state_;
  int index_ = 624;
};

}  // namespace halftone
