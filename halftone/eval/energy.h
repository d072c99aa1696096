// Joules: from the machine's meter where it has one that may be read, else from a model of the
// arithmetic, which is never to be shown without that word.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace halftone::eval {

// RAPL: what the CPU packages (cores, caches, memory controller; not the memory itself) have taken,
// as Linux shows it in powercap. Usually for root only. One thread.
class EnergyMeter {
 public:
  // Nothing where there is no package counter that this process may read.
  static std::optional<EnergyMeter> open(const std::string& folder = "/sys/class/powercap");

  // Joules since open(). Counters wrap (every few minutes under load): call more often than that.
  double joules();

 private:
  struct Package {
    std::string path;
    double last = 0, range = 0;  // microjoules; range: where it wraps
  };
  std::vector<Package> packages_;
  double microjoules_ = 0;
};

// Multiply-adds of one token through linears of one kind.
struct MacsOf {
  double macs = 0;
  int64_t weight_bits = 32, activation_bits = 32;  // 32: floats
};

// 45 nm (Horowitz, ISSCC 2014): f32 multiply 3.7 pJ and add 0.9; int32 multiply 3.1, which shrinks
// with the product of the widths (int8: 0.2), and an int32 add 0.1; DRAM 1.3 to 2.6 nJ for 64 bits,
// taken as 1.95. Weights with fewer bits are not unpacked for nothing, and caches take energy: both
// are left out, so ratios say more than values.
inline constexpr double kDramJoulesPerByte = 1.95e-9 / 8;
double mac_joules(int64_t weight_bits, int64_t activation_bits);
// Of each of `tokens` that go through together: the weights, `bytes`, are read once for all.
double modelled_joules_per_token(std::span<const MacsOf> macs, double bytes, int64_t tokens);

}  // namespace halftone::eval
