// Runs a fuzz target without libFuzzer: every file of the corpus, then seeded mutations of it.
//
//   fuzz_gguf tests/corpus/gguf [more folders] [--mutations 2000] [--seed 1] [--only I]
//
// Mutation I depends on (corpus, seed, I) only, so a failing one is run again alone with --only.
// When the target dies, the last line tells which input it was.
#include <algorithm>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"
#include "halftone/base/rng.h"

// NOLINTNEXTLINE(bugprone-reserved-identifier): the sanitizers' own name
extern "C" void __sanitizer_set_death_callback(void (*callback)()) __attribute__((weak));

namespace {

char current[512] = "nothing yet";

void say_current() {
  std::fputs("\nfuzz: died in ", stderr);
  std::fputs(current, stderr);
  std::fputs("\n", stderr);
}
void on_signal(int number) {
  say_current();
  std::signal(number, SIG_DFL);
  std::raise(number);
}

struct Seed {
  std::string name;
  std::vector<uint8_t> bytes;
};

std::vector<Seed> read_corpus(const std::vector<std::string>& folders) {
  std::vector<std::string> names;
  for (const std::string& folder : folders) {
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      if (entry.is_regular_file() && entry.path().extension() != ".py" &&
          entry.path().extension() != ".md")
        names.push_back(entry.path().string());
  }
  std::sort(names.begin(), names.end());
  std::vector<Seed> seeds;
  for (const std::string& name : names) {
    std::ifstream in(name, std::ios::binary);
    seeds.push_back({name, {std::istreambuf_iterator<char>(in), {}}});
  }
  return seeds;
}

class Mutator {
 public:
  Mutator(uint64_t seed, uint32_t mutation) : rng_(seed, mutation) {}

  std::vector<uint8_t> mutate(const std::vector<Seed>& seeds) {
    std::vector<uint8_t> bytes = seeds[below(seeds.size())].bytes;
    const uint64_t times = 1 + below(4);
    for (uint64_t i = 0; i < times; ++i) one(bytes, seeds);
    return bytes;
  }

 private:
  uint64_t below(uint64_t n) { return n == 0 ? 0 : rng_.u32(next_++) % n; }

  void one(std::vector<uint8_t>& b, const std::vector<Seed>& seeds) {
    // Numbers that readers get wrong: ends of ranges, signs, sizes that wrap when rounded up or
    // multiplied.
    static constexpr uint64_t kNumbers[] = {0,
                                            1,
                                            2,
                                            3,
                                            4,
                                            5,
                                            7,
                                            8,
                                            9,
                                            13,
                                            31,
                                            32,
                                            33,
                                            63,
                                            64,
                                            65,
                                            127,
                                            128,
                                            255,
                                            256,
                                            257,
                                            0x7fff,
                                            0x8000,
                                            0xffff,
                                            0x10000,
                                            0x7fffffff,
                                            0x80000000,
                                            0xffffffff,
                                            0x100000000,
                                            1ull << 40,
                                            1ull << 61,
                                            1ull << 62,
                                            (1ull << 63) - 4,
                                            (1ull << 63) - 1,
                                            1ull << 63,
                                            ~0ull - 31,
                                            ~0ull - 7,
                                            ~0ull - 1,
                                            ~0ull};
    const uint64_t at = below(b.size() + 1);
    switch (below(10)) {
      case 0:
        if (at < b.size()) b[at] ^= static_cast<uint8_t>(1u << below(8));
        break;
      case 1:
        if (at < b.size()) b[at] = static_cast<uint8_t>(below(256));
        break;
      case 2:
        b.resize(at);
        break;
      case 3: {  // a stretch removed
        const uint64_t n = std::min<uint64_t>(1 + below(16), b.size() - at);
        b.erase(b.begin() + static_cast<std::ptrdiff_t>(at),
                b.begin() + static_cast<std::ptrdiff_t>(at + n));
        break;
      }
      case 4: {  // a stretch twice
        const uint64_t n = std::min<uint64_t>(1 + below(64), b.size() - at);
        const std::vector<uint8_t> piece(b.begin() + static_cast<std::ptrdiff_t>(at),
                                         b.begin() + static_cast<std::ptrdiff_t>(at + n));
        b.insert(b.begin() + static_cast<std::ptrdiff_t>(at), piece.begin(), piece.end());
        break;
      }
      case 5: {  // the tail of another seed
        const auto& other = seeds[below(seeds.size())].bytes;
        const uint64_t from = below(other.size() + 1);
        b.resize(at);
        b.insert(b.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
        break;
      }
      case 6: {  // a number in text
        const std::string text = std::to_string(kNumbers[below(std::size(kNumbers))]);
        uint64_t p = at;
        while (p < b.size() && (b[p] < '0' || b[p] > '9')) ++p;
        uint64_t end = p;
        while (end < b.size() && b[end] >= '0' && b[end] <= '9') ++end;
        b.erase(b.begin() + static_cast<std::ptrdiff_t>(p),
                b.begin() + static_cast<std::ptrdiff_t>(end));
        b.insert(b.begin() + static_cast<std::ptrdiff_t>(p), text.begin(), text.end());
        break;
      }
      default: {  // a number in binary, often at a multiple of 4
        const uint64_t value = kNumbers[below(std::size(kNumbers))];
        const uint64_t width = 1ull << below(4);
        const uint64_t place = below(2) ? at : at / 4 * 4;
        for (uint64_t i = 0; i < width && place + i < b.size(); ++i)
          b[place + i] = static_cast<uint8_t>(value >> (8 * i));
      }
    }
    if (b.size() > 1 << 20) b.resize(1 << 20);
  }

  halftone::CounterRng rng_;
  uint64_t next_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> folders;
  uint64_t mutations = 2000, seed = 1;
  int64_t only = -1;
  for (int i = 1; i < argc; ++i) {
    const auto value = [&] { return i + 1 < argc ? std::strtoull(argv[++i], nullptr, 10) : 0; };
    if (std::strcmp(argv[i], "--mutations") == 0)
      mutations = value();
    else if (std::strcmp(argv[i], "--seed") == 0)
      seed = value();
    else if (std::strcmp(argv[i], "--only") == 0)
      only = static_cast<int64_t>(value());
    else
      folders.emplace_back(argv[i]);
  }
  for (const int number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL})
    std::signal(number, on_signal);
  if (__sanitizer_set_death_callback != nullptr) __sanitizer_set_death_callback(say_current);

  const std::vector<Seed> seeds = read_corpus(folders);
  if (seeds.empty()) {
    std::fprintf(stderr,
                 "usage: %s CORPUS_FOLDER [--mutations N] [--seed S] [--only I]; the folder must "
                 "hold files\n",
                 argv[0]);
    return 2;
  }
  if (only < 0) {
    for (const Seed& s : seeds) {
      std::snprintf(current, sizeof current, "%s", s.name.c_str());
      LLVMFuzzerTestOneInput(s.bytes.data(), s.bytes.size());
    }
  }
  for (uint64_t i = only < 0 ? 0 : static_cast<uint64_t>(only);
       i < (only < 0 ? mutations : static_cast<uint64_t>(only) + 1); ++i) {
    std::snprintf(current, sizeof current,
                  "mutation %llu of seed %llu: run again with --seed %llu --only %llu",
                  static_cast<unsigned long long>(i), static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(seed), static_cast<unsigned long long>(i));
    const std::vector<uint8_t> bytes = Mutator(seed, static_cast<uint32_t>(i)).mutate(seeds);
    LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  }
  std::printf("%zu files, %llu mutations of seed %llu\n", seeds.size(),
              static_cast<unsigned long long>(only < 0 ? mutations : 1),
              static_cast<unsigned long long>(seed));
  return 0;
}
