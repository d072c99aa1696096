#include "halftone/base/rng.h"

#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>
#include <unordered_set>
#include <vector>

#include "halftone/base/error.h"

namespace halftone {

std::array<uint32_t, 4> CounterRng::block(uint64_t counter) const {
  std::array<uint32_t, 4> x = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                               a_, b_};
  uint32_t k0 = static_cast<uint32_t>(seed_), k1 = static_cast<uint32_t>(seed_ >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * x[0], p1 = uint64_t{0xCD9E8D57u} * x[2];
    x = {static_cast<uint32_t>(p1 >> 32) ^ x[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ x[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return x;
}

double CounterRng::uniform(uint64_t i) const {
  const auto x = block(i / 2);
  const uint64_t bits = (uint64_t{x[i % 2 * 2]} << 32) | x[i % 2 * 2 + 1];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

double CounterRng::normal(uint64_t i) const {
  const double u = 1.0 - uniform(2 * i), v = uniform(2 * i + 1);
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

PythonRandom::PythonRandom(uint64_t seed) {
  std::vector<uint32_t> key = {static_cast<uint32_t>(seed)};
  if (seed >> 32) key.push_back(static_cast<uint32_t>(seed >> 32));
  state_[0] = 19650218u;
  for (uint32_t i = 1; i < 624; ++i)
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  uint32_t i = 1, j = 0;
  const auto length = static_cast<uint32_t>(key.size());
  for (int k = 624; k > 0; --k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1664525u)) + key[j] + j;
    if (++i >= 624) state_[0] = state_[623], i = 1;
    if (++j >= length) j = 0;
  }
  for (int k = 623; k > 0; --k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1566083941u)) - i;
    if (++i >= 624) state_[0] = state_[623], i = 1;
  }
  state_[0] = 0x80000000u;
}

void PythonRandom::refill() {
  for (size_t i = 0; i < 624; ++i) {
    const uint32_t y = (state_[i] & 0x80000000u) | (state_[(i + 1) % 624] & 0x7fffffffu);
    state_[i] = state_[(i + 397) % 624] ^ (y >> 1) ^ ((y & 1u) ? 0x9908b0dfu : 0u);
  }
  index_ = 0;
}

uint32_t PythonRandom::next32() {
  if (index_ >= 624) refill();
  uint32_t y = state_[static_cast<size_t>(index_++)];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680u;
  y ^= (y << 15) & 0xefc60000u;
  return y ^ (y >> 18);
}

uint64_t PythonRandom::getrandbits(int bits) {
  check(bits >= 1 && bits <= 64, "getrandbits takes 1 to 64 bits");
  if (bits <= 32) return next32() >> (32 - bits);
  const uint64_t low = next32();
  return low | (uint64_t{next32() >> (64 - bits)} << 32);
}

int64_t PythonRandom::randint(int64_t low, int64_t high) {
  check(low <= high, "randint needs low <= high");
  const uint64_t n = static_cast<uint64_t>(high - low) + 1;
  const int bits = static_cast<int>(std::bit_width(n));
  uint64_t r = getrandbits(bits);
  while (r >= n) r = getrandbits(bits);
  return low + static_cast<int64_t>(r);
}

double PythonRandom::random() {
  const uint32_t a = next32() >> 5, b = next32() >> 6;
  return (static_cast<double>(a) * 67108864.0 + static_cast<double>(b)) * 0x1p-53;
}

// CPython's two ways: a shrinking list of what is left, or a set of what was taken where the
// population is large against the sample.
std::vector<int64_t> PythonRandom::sample(int64_t population, int64_t count) {
  check(count >= 0 && count <= population, "a sample is at most the population");
  int64_t set_size = 21;
  if (count > 5)
    set_size += int64_t{1} << (2 * static_cast<int>(std::ceil(
                                       std::log(static_cast<double>(count) * 3) / std::log(4.0))));
  std::vector<int64_t> out;
  if (population <= set_size) {
    std::vector<int64_t> left(static_cast<size_t>(population));
    std::iota(left.begin(), left.end(), 0);
    for (int64_t i = 0; i < count; ++i) {
      const auto j = static_cast<size_t>(randint(0, population - i - 1));
      out.push_back(left[j]);
      left[j] = left[static_cast<size_t>(population - i - 1)];
    }
    return out;
  }
  std::unordered_set<int64_t> taken;
  while (std::ssize(out) < count) {
    const int64_t j = randint(0, population - 1);
    if (taken.insert(j).second) out.push_back(j);
  }
  return out;
}

}  // namespace halftone
