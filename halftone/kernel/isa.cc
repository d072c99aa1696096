#include "halftone/kernel/isa.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include "halftone/base/error.h"
#include "halftone/kernel/kernels.h"

namespace halftone::kernel {
namespace {

struct Features {
  bool avx2 = false, fma = false, f16c = false, avx_vnni = false;
  bool avx512 = false, avx512_vnni = false, avx512_bf16 = false, amx_int8 = false, amx_bf16 = false;
  bool asimd = false, asimddp = false, i8mm = false, bf16 = false;  // Linux's names
  std::string name = "unknown";
};

#if defined(__x86_64__)
uint64_t xcr0() {
  uint32_t low = 0, high = 0;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

Features detect() {
  Features f;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return f;
  const bool osxsave = (c >> 27) & 1u;
  const uint64_t saved = osxsave ? xcr0() : 0;
  const bool ymm = (saved & 0x6) == 0x6;    // SSE and AVX state
  const bool zmm = (saved & 0xe6) == 0xe6;  // and opmask, both halves of zmm
  const bool tile = (saved & 0x60000) == 0x60000;
  f.fma = ymm && ((c >> 12) & 1u);
  f.f16c = ymm && ((c >> 29) & 1u);
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
    const auto has = [](uint32_t word, int bit) { return ((word >> bit) & 1u) != 0; };
    f.avx2 = ymm && has(b, 5);
    f.avx512 = zmm && has(b, 16) && has(b, 17) && has(b, 30) && has(b, 31);  // F DQ BW VL
    f.avx512_vnni = f.avx512 && has(c, 11);
    f.amx_int8 = tile && has(d, 25);
    f.amx_bf16 = tile && has(d, 22);
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
      f.avx_vnni = f.avx2 && has(a, 4);
      f.avx512_bf16 = f.avx512 && has(a, 5);
    }
  }
  std::array<uint32_t, 12> brand{};
  if (__get_cpuid(0x80000000u, &a, &b, &c, &d) != 0 && a >= 0x80000004u) {
    for (uint32_t i = 0; i < 3; ++i)
      __get_cpuid(0x80000002u + i, &brand[4 * i], &brand[4 * i + 1], &brand[4 * i + 2],
                  &brand[4 * i + 3]);
    char text[49] = {};
    std::memcpy(text, brand.data(), 48);
    f.name = text;
    f.name.erase(0, f.name.find_first_not_of(' '));
  }
  return f;
}

// Linux gives a process the tile registers only when it asks, for all its threads.
bool tiles_allowed() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  static const bool allowed = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return allowed;
#else
  return false;
#endif
}
#elif defined(__aarch64__) && defined(__linux__)
Features detect() {
  Features f;
  const unsigned long one = ::getauxval(AT_HWCAP), two = ::getauxval(AT_HWCAP2);
  f.asimd = (one & HWCAP_ASIMD) != 0;
  f.asimddp = (one & HWCAP_ASIMDDP) != 0;
  f.i8mm = (two & HWCAP2_I8MM) != 0;
  f.bf16 = (two & HWCAP2_BF16) != 0;
  return f;
}
#else
Features detect() { return {}; }
#endif

const Features& features() {
  static const Features found = detect();
  return found;
}

constexpr std::array kAll = {Isa::scalar, Isa::avx2, Isa::avx512vnni, Isa::amx, Isa::neon};

}  // namespace

std::string_view isa_name(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return "scalar";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512vnni:
      return "avx512vnni";
    case Isa::amx:
      return "amx";
    case Isa::neon:
      return "neon";
  }
  return "unknown";
}

std::vector<Isa> usable_isas() {
  std::vector<Isa> usable = {Isa::scalar};
#if defined(__x86_64__)
  const Features& f = features();
  if (f.avx2 && f.fma && f.f16c) {
    usable.push_back(Isa::avx2);
    if (f.avx512_vnni) {
      usable.push_back(Isa::avx512vnni);
      if (f.amx_int8 && tiles_allowed()) usable.push_back(Isa::amx);
    }
  }
#elif defined(__aarch64__)
  if (features().asimddp) usable.push_back(Isa::neon);
#endif
  return usable;
}

Isa choose_isa(const char* forced) {
  const auto usable = usable_isas();
  if (forced == nullptr || *forced == 0) return usable.back();
  for (const Isa isa : kAll) {
    if (isa_name(isa) != forced) continue;
    if (std::find(usable.begin(), usable.end(), isa) != usable.end()) return isa;
    throw InputError("HALFTONE_ISA", "this CPU cannot run " + std::string(forced),
                     "usable here: " + listed(usable, isa_name));
  }
  throw InputError("HALFTONE_ISA", "unknown instruction set " + quote(forced),
                   "one of: " + listed(kAll, isa_name));
}

const Kernels& kernels_for(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::amx) return features().amx_bf16 ? kernels_amx() : kernels_amx_int8();
  if (isa == Isa::avx512vnni) return kernels_avx512();
  if (isa == Isa::avx2) return kernels_avx2();
#elif defined(__aarch64__)
  if (isa == Isa::neon) return kernels_neon();
#endif
  check(isa == Isa::scalar, "kernels of another instruction set were asked for");
  return kernels_scalar();
}

const Kernels& best_kernels() { return kernels_for(choose_isa(std::getenv("HALFTONE_ISA"))); }

std::string cpu_name() { return features().name; }

std::string cpu_flags() {
  const Features& f = features();
  std::string text;
  const auto add = [&](bool has, const char* name) {
    if (has) text.append(text.empty() ? "" : " ").append(name);
  };
  add(f.avx2, "avx2");
  add(f.fma, "fma");
  add(f.f16c, "f16c");
  add(f.avx_vnni, "avx_vnni");
  add(f.avx512, "avx512f avx512bw avx512dq avx512vl");
  add(f.avx512_vnni, "avx512_vnni");
  add(f.avx512_bf16, "avx512_bf16");
  add(f.amx_int8, "amx_int8");
  add(f.amx_bf16, "amx_bf16");
  add(f.asimd, "asimd");
  add(f.asimddp, "asimddp");
  add(f.i8mm, "i8mm");
  add(f.bf16, "bf16");
  return text;
}

}  // namespace halftone::kernel
