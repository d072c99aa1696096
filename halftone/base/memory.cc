#include "halftone/base/memory.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>

namespace halftone {

uint64_t peak_rss_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "VmHWM: %llu kB", &kib) == 1) return kib * 1024;
  }
  return 0;
}

uint64_t available_memory_bytes() {
  uint64_t available = 0;
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);) {
    unsigned long long kib = 0;
    if (std::sscanf(line.c_str(), "MemAvailable: %llu kB", &kib) == 1) available = kib * 1024;
  }
  // "max" where there is no limit, which is no number
  uint64_t limit = 0, taken = 0;
  std::ifstream limit_file("/sys/fs/cgroup/memory.max"),
      taken_file("/sys/fs/cgroup/memory.current");
  if (limit_file >> limit && taken_file >> taken)
    available = std::min(available, limit > taken ? limit - taken : 0);
  return available;
}

}  // namespace halftone
