#include "halftone/eval/energy.h"

#include <filesystem>
#include <fstream>
#include <set>

namespace halftone::eval {
namespace {

// A file of sysfs says 4096 bytes of size and holds fewer.
template <class T>
std::optional<T> first_word(const std::string& path) {
  std::ifstream file(path);
  T value{};
  if (file >> value) return value;
  return std::nullopt;
}

}  // namespace

std::optional<EnergyMeter> EnergyMeter::open(const std::string& folder) {
  EnergyMeter out;
  std::error_code error;
  std::set<std::string>
      seen;  // some machines show a package twice, as intel-rapl and intel-rapl-mmio
  for (std::filesystem::directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    const std::string path = it->path().string();
    const auto name = first_word<std::string>(path + "/name");
    if (!name || !name->starts_with("package") || !seen.insert(*name).second) continue;
    const auto now = first_word<double>(path + "/energy_uj"),
               range = first_word<double>(path + "/max_energy_range_uj");
    if (!now || !range) return std::nullopt;  // a sum over some packages would be no sum
    out.packages_.push_back({path + "/energy_uj", *now, *range});
  }
  if (out.packages_.empty()) return std::nullopt;
  return out;
}

double EnergyMeter::joules() {
  for (Package& package : packages_) {
    const double now = first_word<double>(package.path).value_or(package.last);
    microjoules_ += now >= package.last ? now - package.last : now - package.last + package.range;
    package.last = now;
  }
  return microjoules_ * 1e-6;
}

double mac_joules(int64_t weight_bits, int64_t activation_bits) {
  if (activation_bits >= 32) return (3.7 + 0.9) * 1e-12;
  return (3.1 * static_cast<double>(weight_bits * activation_bits) / (32 * 32) + 0.1) * 1e-12;
}

double modelled_joules_per_token(std::span<const MacsOf> macs, double bytes, int64_t tokens) {
  double joules = bytes * kDramJoulesPerByte / static_cast<double>(tokens);
  for (const MacsOf& m : macs) joules += m.macs * mac_joules(m.weight_bits, m.activation_bits);
  return joules;
}

}  // namespace halftone::eval
