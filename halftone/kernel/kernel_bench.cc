// kernel_bench [--isa avx2|avx512vnni|amx] [--threads 1,2] [--seconds 1] [--cold-mib 1152] [--only
// TEXT] [--json FILE]
// kernel_bench --serve [--isa ...] [--threads N]     one side of benchmarks/peers/kernels.py
//
// Times the products against the machine's own limits in the same process: GEMV against reading
// memory in 4 streams, GEMM against the peak loop of the same multiply-adds. Each kernel is checked
// against the scalar reference before it is timed. Samples of a kernel and of its limit alternate,
// because clocks and memory bandwidth drift. Samples during which the system took a core away, or
// something else was running (another hardware thread of the same core halves what a core can
// issue, but not what the peak loop needs), are put aside; "busy" marks rows where too few were
// left and all had to serve. Threads are pinned. Memory-bound kernels walk through --cold-mib of
// weights, more than the last-level cache.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "benchmarks/limits/limits.h"
#include "benchmarks/limits/sampling.h"
#include "benchmarks/peers/samplers/serve.h"
#include "halftone/base/error.h"
#include "halftone/base/rng.h"
#include "halftone/base/threads.h"
#include "halftone/kernel/isa.h"
#include "halftone/kernel/matmul.h"

namespace halftone::kernel {
namespace {

using benchmark::Limits;

struct Options {
  std::string isa;  // empty: all that this CPU has, but scalar
  std::vector<int64_t> threads = {1, 2};
  double seconds = 1;
  int64_t cold_mib = 1152;
  std::string only, json;
  bool serve = false;
};

struct Case {
  const char* name;
  Store store;
  int bits;
  int64_t group;
  bool zeros;
  bool int8;
  int64_t n, k, m;
  int64_t super = 0;  // two-level scales
  char book = 0;      // 'n': nf4, 'f': fp4
  bool pairs = false;
};

std::vector<float> book_of(char book) {
  if (book == 'n')
    return {-1.0f,      -0.696193f, -0.525073f, -0.394917f, -0.284441f, -0.184773f,
            -0.091050f, 0.0f,       0.079580f,  0.160930f,  0.246112f,  0.337915f,
            0.440710f,  0.562617f,  0.722956f,  1.0f};
  if (book == 'f')
    return {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
            -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
  return {};
}

TiledWeights weights_for(const Case& c, ThreadPool& pool) {
  const CounterRng random(7, static_cast<uint32_t>(c.n), static_cast<uint32_t>(c.k));
  if (c.store == Store::codes) {
    const int64_t groups = c.group == 0 ? 1 : (c.k + c.group - 1) / c.group;
    const TileSpec spec{.rows = c.n,
                        .cols = c.k,
                        .bits = c.bits,
                        .group = c.group,
                        .zeros = c.zeros,
                        .zero = 1 << (c.bits - 1),
                        .super = c.super,
                        .pairs = c.pairs,
                        .book = book_of(c.book)};
    return TiledWeights::from_codes(
        spec,
        [&](int64_t n, std::span<uint8_t> codes, std::span<float> scales,
            std::span<uint8_t> zeros) {
          for (int64_t k = 0; k < c.k; k += 4) {
            const auto four = random.block(static_cast<uint64_t>(n * c.k + k));
            for (int64_t i = 0; i < std::min<int64_t>(4, c.k - k); ++i)
              codes[static_cast<size_t>(k + i)] =
                  static_cast<uint8_t>(four[static_cast<size_t>(i)] & ((1u << c.bits) - 1));
          }
          for (int64_t g = 0; g < groups; ++g)
            scales[static_cast<size_t>(g)] = 0.0078125f * static_cast<float>(1 + (n + g) % 5);
          for (auto& z : zeros) z = static_cast<uint8_t>(n & ((1 << c.bits) - 1));
        },
        &pool);
  }
  return TiledWeights::from_dense(
      c.n, c.k, c.store,
      [&](int64_t n, std::span<std::byte> out) {
        const auto size = static_cast<int64_t>(out.size()) / c.k;
        for (int64_t k = 0; k < c.k;
             ++k) {  // small positive numbers: exponent bits fixed, mantissa random
          const uint32_t r = random.u32(static_cast<uint64_t>(n * c.k + k));
          const uint32_t f32 = 0x3c000000u | (r & 0x007fffffu);
          const uint32_t bits = size == 4               ? f32
                                : c.store == Store::f16 ? 0x2000u | (r & 0x3ffu)
                                                        : f32 >> 16;
          std::memcpy(out.data() + k * size, &bits, static_cast<size_t>(size));
        }
      },
      &pool);
}

void verify(const Kernels& kernels, const Case& c, const TiledWeights& w,
            const ActivationPlan& plan, const std::vector<float>& x, ThreadPool& pool) {
  // The first tiles and rows against the scalar reference, bit by bit.
  const int64_t m = std::min<int64_t>(c.m, 13), tiles = std::min<int64_t>(w.tiles(), 9);
  std::vector<float> y[2];
  const Kernels* both[2] = {&kernels, &kernels_scalar()};
  for (int i = 0; i < 2; ++i) {
    Activations a;
    prepare(a, *both[i], plan, x.data(), m, c.k, &pool);
    y[i].assign(static_cast<size_t>(m * c.n), 0);
    pool.split(tiles, [&](int64_t begin, int64_t end) {
      matmul(*both[i], w, a, y[i].data(), c.n, begin, end);
    });
  }
  if (std::memcmp(y[0].data(), y[1].data(), y[0].size() * 4) != 0)
    throw std::runtime_error(std::string(c.name) + ": wrong results");
}

class Bench {
 public:
  explicit Bench(const Options& options)
      : options_(options), arena_(options.cold_mib << 20), other_(options.cold_mib << 20) {
    arena_.touch();
    other_.touch();
  }

  void run(Isa isa, int64_t threads, const Case& c) {
    const Kernels& kernels = kernels_for(isa);
    const Limits& limits = benchmark::limits_for(isa);
    ThreadPool pool(threads);
    benchmark::pin(pool);
    const TiledWeights w = weights_for(c, pool);
    const ActivationPlan plan =
        c.int8 ? plan_int8(w.view(), c.pairs ? 128 : 64) : plan_float(w.view());
    const CounterRng random(3);
    std::vector<float> x(static_cast<size_t>(c.m * c.k)), y(static_cast<size_t>(c.m * c.n));
    for (size_t i = 0; i < x.size(); ++i)
      x[i] = static_cast<float>(random.u32(i) % 2001) * 0.001f - 1.0f;
    verify(kernels, c, w, plan, x, pool);
    Activations a;
    prepare(a, kernels, plan, x.data(), c.m, c.k, &pool);
    if (std::string_view(c.name).starts_with("gemv"))
      memory_bound(kernels, limits, pool, c, w, a, y);
    else
      compute_bound(kernels, limits, pool, c, w, a, y);
  }

  const nlohmann::json& rows() const { return rows_; }

 private:
  // Copies of the weights fill the arena; sample i reads copy i, its limit reads as many bytes of
  // the other arena.
  void memory_bound(const Kernels& kernels, const Limits& limits, ThreadPool& pool, const Case& c,
                    const TiledWeights& w, const Activations& a, std::vector<float>& y) {
    const int64_t bytes = w.bytes(), copies = arena_.size() / bytes;
    pool.split(copies, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        std::memcpy(arena_.data() + i * bytes, w.view().data, static_cast<size_t>(bytes));
    });
    const ActivationPlan& p = a.plan();
    const auto product = p.pairs                   ? kernels.matmul_pairs
                         : a.rows_per_panel() == 1 ? kernels.gemv_int
                                                   : kernels.gemm_int;
    const auto work = [&](int64_t sample, int64_t worker, int64_t workers) {
      Tiles view = w.view();
      view.data = arena_.data() + sample % copies * bytes;
      const int64_t begin = w.tiles() * worker / workers, end = w.tiles() * (worker + 1) / workers;
      const int64_t per_group = view.groups == 1 ? p.units() : view.group / p.unit;
      if (p.int8)
        product({view, a.codes(), a.scales(), a.sums(), c.m, p.unit, p.units(), per_group,
                 a.depth(), y.data(), c.n, begin, end});
      else
        kernels.gemv_float(
            {view, a.values(), c.m, p.unit, p.units(), per_group, y.data(), c.n, begin, end});
    };
    const auto limit = [&](int64_t sample, int64_t worker, int64_t workers) {
      const int64_t part = bytes / workers / 4 / 256 * 256;
      const uint8_t* from = other_.data() + sample % copies * bytes + worker * 4 * part;
      from += (64 - reinterpret_cast<uintptr_t>(from) % 64) % 64;  // a cache line begins there
      const uint8_t* streams[4] = {from, from + part, from + 2 * part, from + 3 * part};
      sink_ = sink_ + limits.read4(streams, part);
    };
    const double gb = static_cast<double>(bytes) * 1e-9;
    report(kernels, pool, c, "GB/s", bytes,
           benchmark::alternate(pool, options_.seconds, {{work, gb}, {limit, gb}}));
  }

  // Weights and panel stay in cache as they would in prefill; a sample is a few tiles long.
  void compute_bound(const Kernels& kernels, const Limits& limits, ThreadPool& pool, const Case& c,
                     const TiledWeights& w, const Activations& a, std::vector<float>& y) {
    const int64_t slice =
        std::max<int64_t>(2, std::min(w.tiles() / pool.threads(),
                                      int64_t{200'000'000} / (c.m * c.k * 2 * kTileRows) / 2 * 2));
    const int64_t slices = std::max<int64_t>(1, w.tiles() / (slice * pool.threads()));
    const auto work = [&](int64_t sample, int64_t worker, int64_t workers) {
      const int64_t begin = (sample % slices * workers + worker) * slice;
      matmul(kernels, w, a, y.data(), c.n, begin, std::min(begin + slice, w.tiles()));
    };
    const bool wide = c.int8 && (c.bits > 4 || c.book != 0);
    const Limits::Peak& peak = !c.int8 ? limits.f32 : wide ? limits.wide : limits.int8;
    const int64_t rounds = 100'000'000 / peak.operations;
    const auto limit = [&](int64_t, int64_t, int64_t) { peak.run(rounds); };
    const double gop =
        static_cast<double>(pool.threads() * slice * kTileRows * c.k * c.m * 2) * 1e-9;
    const double limit_gop = static_cast<double>(pool.threads() * rounds * peak.operations) * 1e-9;
    report(kernels, pool, c, "GOP/s", w.bytes(),
           benchmark::alternate(pool, options_.seconds, {{work, gop}, {limit, limit_gop}}));
  }

  void report(const Kernels& kernels, const ThreadPool& pool, const Case& c, const char* unit,
              int64_t bytes, const std::vector<benchmark::Rates>& rates) {
    const benchmark::Rates &r = rates[0], &limit = rates[1];
    rows_.push_back({{"kernel", c.name},
                     {"isa", kernels.name},
                     {"threads", pool.threads()},
                     {"n", c.n},
                     {"k", c.k},
                     {"m", c.m},
                     {"unit", unit},
                     {"median", r.median},
                     {"best", r.best},
                     {"limit_median", limit.median},
                     {"limit_best", limit.best},
                     {"bytes", bytes},
                     {"operations", 2 * c.n * c.k * c.m},
                     {"busy", r.busy}});
    std::printf(
        "%-22s %-11s %ld  %5ld x %-5ld M %-4ld %8.1f %8.1f %-6s %8.1f %8.1f   %3.0f %%   %5ld "
        "%5ld%s\n",
        c.name, kernels.name, static_cast<long>(pool.threads()), static_cast<long>(c.n),
        static_cast<long>(c.k), static_cast<long>(c.m), r.median, r.best, unit, limit.median,
        limit.best, 100 * r.median / limit.median, static_cast<long>(r.samples),
        static_cast<long>(r.dropped), r.busy ? "  busy" : "");
    std::fflush(stdout);
  }

  Options options_;
  nlohmann::json rows_ = nlohmann::json::array();
  benchmark::Arena arena_, other_;
  std::atomic<uint64_t> sink_{0};
};

const std::vector<Case> kCases = {
    {"gemv W4 g128", Store::codes, 4, 128, false, true, 4096, 4096, 1},
    {"gemv W4 g64", Store::codes, 4, 64, false, true, 4096, 4096, 1},
    {"gemv W4 g64 zeros", Store::codes, 4, 64, true, true, 4096, 4096, 1},
    {"gemv W4 g32", Store::codes, 4, 32, false, true, 4096, 4096, 1},
    {"gemv W4 g32/64", Store::codes, 4, 32, false, true, 4096, 4096, 1, 64},
    {"gemv W4 g32/128", Store::codes, 4, 32, false, true, 4096, 4096, 1, 128},
    {"gemv W4 g32/256", Store::codes, 4, 32, false, true, 4096, 4096, 1, 256},
    {"gemv W4 g32", Store::codes, 4, 32, false, true, 4096, 11008, 1},
    {"gemv W3 g64", Store::codes, 3, 64, false, true, 4096, 4096, 1},
    {"gemv W2 g128", Store::codes, 2, 128, false, true, 4096, 4096, 1},
    {"gemv W2 g64", Store::codes, 2, 64, false, true, 4096, 4096, 1},
    {"gemv W2 g128 tables", Store::codes, 2, 128, false, true, 4096, 4096, 1, 0, 0, true},
    {"gemv W2 g64 tables", Store::codes, 2, 64, false, true, 4096, 4096, 1, 0, 0, true},
    {"gemv W2 g64 tables M4", Store::codes, 2, 64, false, true, 4096, 4096, 4, 0, 0, true},
    {"gemv W2 g64 M4", Store::codes, 2, 64, false, true, 4096, 4096, 4},
    {"gemv W3 g32", Store::codes, 3, 32, false, true, 4096, 11008, 1},
    {"gemv W2 g32", Store::codes, 2, 32, false, true, 4096, 11008, 1},
    {"gemv W2 g32 zeros", Store::codes, 2, 32, true, true, 4096, 11008, 1},
    {"gemv W6 g64", Store::codes, 6, 64, false, true, 4096, 4096, 1},
    {"gemv W5 g64", Store::codes, 5, 64, false, true, 4096, 4096, 1},
    {"gemv W1 g64", Store::codes, 1, 64, false, true, 4096, 4096, 1},
    {"gemv nf4 g64", Store::codes, 4, 64, false, true, 4096, 4096, 1, 0, 'n'},
    {"gemv fp4 g64", Store::codes, 4, 64, false, true, 4096, 4096, 1, 0, 'f'},
    {"gemv nf4 g64", Store::codes, 4, 64, false, true, 4096, 11008, 1, 0, 'n'},
    {"gemv nf4 g32", Store::codes, 4, 32, false, true, 4096, 11008, 1, 0, 'n'},
    {"gemv fp4 g64", Store::codes, 4, 64, false, true, 4096, 11008, 1, 0, 'f'},
    {"gemv exact nf4 g64", Store::codes, 4, 64, false, false, 4096, 4096, 1, 0, 'n'},
    {"gemv exact fp4 g64", Store::codes, 4, 64, false, false, 4096, 4096, 1, 0, 'f'},
    {"gemv W8 row", Store::codes, 8, 0, false, true, 4096, 4096, 1},
    {"gemv W8 g32", Store::codes, 8, 32, false, true, 4096, 11008, 1},
    {"gemv W4 g64 M2", Store::codes, 4, 64, false, true, 4096, 4096, 2},
    {"gemv W4 g64 M3", Store::codes, 4, 64, false, true, 4096, 4096, 3},
    {"gemv W4 g64 M4", Store::codes, 4, 64, false, true, 4096, 4096, 4},
    {"gemv W4 g64 M6", Store::codes, 4, 64, false, true, 4096, 4096, 6},
    {"gemv W4 g64 M8", Store::codes, 4, 64, false, true, 4096, 4096, 8},
    {"gemv W4 g64 M16", Store::codes, 4, 64, false, true, 4096, 4096, 16},
    {"gemv W8 row M8", Store::codes, 8, 0, false, true, 4096, 4096, 8},
    {"gemv exact W4 g64", Store::codes, 4, 64, false, false, 4096, 4096, 1},
    {"gemv exact W3 g64", Store::codes, 3, 64, false, false, 4096, 4096, 1},
    {"gemv exact W2 g64", Store::codes, 2, 64, false, false, 4096, 4096, 1},
    {"gemv exact W8 row", Store::codes, 8, 0, false, false, 4096, 4096, 1},
    {"gemv f32", Store::f32, 0, 0, false, false, 4096, 4096, 1},
    {"gemv f16", Store::f16, 0, 0, false, false, 4096, 4096, 1},
    {"gemv bf16", Store::bf16, 0, 0, false, false, 4096, 4096, 1},
    {"gemm W4 g128", Store::codes, 4, 128, false, true, 2048, 2048, 512},
    {"gemm W4 g64", Store::codes, 4, 64, false, true, 2048, 2048, 512},
    {"gemm W4 g64 zeros", Store::codes, 4, 64, true, true, 2048, 2048, 512},
    {"gemm W4 g32", Store::codes, 4, 32, false, true, 2048, 2048, 512},
    {"gemm W4 g32/64", Store::codes, 4, 32, false, true, 2048, 2048, 512, 64},
    {"gemm W4 g32/128", Store::codes, 4, 32, false, true, 2048, 2048, 512, 128},
    {"gemm W4 g32/256", Store::codes, 4, 32, false, true, 2048, 2048, 512, 256},
    {"gemm W4 g64", Store::codes, 4, 64, false, true, 4096, 11008, 512},
    {"gemm W4 g32", Store::codes, 4, 32, false, true, 4096, 11008, 512},
    {"gemm W4 g32/256", Store::codes, 4, 32, false, true, 4096, 11008, 512, 256},
    {"gemm W4 g64 576", Store::codes, 4, 64, false, true, 1536, 576, 512},
    {"gemm W4 g64 M64", Store::codes, 4, 64, false, true, 2048, 2048, 64},
    {"gemm W3 g64", Store::codes, 3, 64, false, true, 2048, 2048, 512},
    {"gemm W2 g64", Store::codes, 2, 64, false, true, 2048, 2048, 512},
    {"gemm W2 g64 tables", Store::codes, 2, 64, false, true, 2048, 2048, 512, 0, 0, true},
    {"gemm W6 g64", Store::codes, 6, 64, false, true, 2048, 2048, 512},
    {"gemm nf4 g64", Store::codes, 4, 64, false, true, 2048, 2048, 512, 0, 'n'},
    {"gemm nf4 g64", Store::codes, 4, 64, false, true, 4096, 11008, 512, 0, 'n'},
    {"gemm W8 row", Store::codes, 8, 0, false, true, 2048, 2048, 512},
    {"gemm W8 g32", Store::codes, 8, 32, false, true, 2048, 2048, 512},
    {"gemm W8 g32", Store::codes, 8, 32, false, true, 4096, 11008, 512},
    {"gemm exact W4 g64", Store::codes, 4, 64, false, false, 2048, 2048, 512},
    {"gemm exact W2 g32", Store::codes, 2, 32, false, false, 2048, 2048, 512},
    {"gemm f32", Store::f32, 0, 0, false, false, 2048, 2048, 512},
    {"gemm f32", Store::f32, 0, 0, false, false, 4096, 11008, 512},
    {"gemm f16", Store::f16, 0, 0, false, false, 2048, 2048, 512},
    {"gemm bf16", Store::bf16, 0, 0, false, false, 2048, 2048, 512},
};

// One kind of weights at the asked shape, as the runtime multiplies by it: activations are prepared in
// every call, and the pool splits the rows.
benchmark::Prepared prepare_product(const Kernels& kernels, ThreadPool& pool,
                                    const benchmark::Product& product) {
  const std::string name = (product.m <= 8 ? "gemv " : "gemm ") + product.name;
  const auto found =
      std::find_if(kCases.begin(), kCases.end(), [&](const Case& c) { return c.name == name; });
  if (found == kCases.end()) throw std::runtime_error("no such case: " + name);
  Case c = *found;
  c.n = product.n;
  c.k = product.k;
  c.m = product.m;

  struct State {
    std::unique_ptr<benchmark::Arena> arena;
    std::vector<TiledWeights> copies;
    ActivationPlan plan;
    Activations activations;
    std::vector<float> x, y;
  };
  const auto state = std::make_shared<State>();
  const TiledWeights w = weights_for(c, pool);
  // The block of activations that the runtime takes when nothing is asked (tile_linear.cc).
  state->plan =
      c.int8 ? plan_int8(w.view(), c.bits == 4 || c.pairs ? 64 : 32) : plan_float(w.view());
  const CounterRng random(3);
  state->x.resize(static_cast<size_t>(c.m * c.k));
  state->y.resize(static_cast<size_t>(c.m * c.n));
  for (size_t i = 0; i < state->x.size(); ++i)
    state->x[i] = static_cast<float>(random.u32(i) % 2001) * 0.001f - 1.0f;
  verify(kernels, c, w, state->plan, state->x, pool);

  const int64_t copies = product.copies(w.bytes());
  state->arena = std::make_unique<benchmark::Arena>(copies * w.bytes());
  for (int64_t i = 0; i < copies; ++i) {
    std::byte* to = reinterpret_cast<std::byte*>(state->arena->data()) + i * w.bytes();
    std::memcpy(to, w.tile_data().data(), static_cast<size_t>(w.bytes()));
    state->copies.push_back(
        TiledWeights::mapped(w.view(), {to, static_cast<size_t>(w.bytes())}, nullptr));
  }
  const auto run = [state, &kernels, &pool, c, copies](int64_t call) {
    prepare(state->activations, kernels, state->plan, state->x.data(), c.m, c.k, &pool);
    matmul(kernels, state->copies[static_cast<size_t>(call % copies)], state->activations,
           state->y.data(), c.n, pool);
  };
  return {run,
          {{"bytes", w.bytes()},
           {"path", kernels.name},
           {"copies", copies},
           {"features", std::string("compiler ") + __VERSION__}}};
}

int serve(const Options& options) {
  const Isa isa = choose_isa(options.isa.c_str());
  ThreadPool pool(options.threads.front());
  benchmark::pin(pool);
  return benchmark::serve(pool.threads(), [&](const benchmark::Product& product) {
    return prepare_product(kernels_for(isa), pool, product);
  });
}

void bench(const Options& options) {
  std::vector<Isa> isas = usable_isas();
  std::erase(isas, Isa::scalar);
  if (!options.isa.empty()) isas = {choose_isa(options.isa.c_str())};
  std::printf(
      "cpu: %s, %ld cores usable\nflags: %s\ncompiler: %s\nlast-level cache is passed by walking "
      "%ld MiB\n\n",
      cpu_name().c_str(), static_cast<long>(usable_cores()), cpu_flags().c_str(), __VERSION__,
      static_cast<long>(options.cold_mib));
  std::printf(
      "%-22s %-11s thr    N x K                median     best          limit     best  share  "
      "samples dropped\n",
      "kernel", "isa");
  Bench bench(options);
  for (const Isa isa : isas)
    for (const Case& c : kCases)
      for (const int64_t threads : options.threads)
        if (std::string(c.name).find(options.only) != std::string::npos) bench.run(isa, threads, c);
  if (options.json.empty()) return;
  std::ofstream file(options.json);
  file << nlohmann::json({{"cpu", cpu_name()}, {"flags", cpu_flags()}, {"rows", bench.rows()}})
              .dump(1)
       << "\n";
  if (!file.flush()) throw std::runtime_error(options.json + ": cannot be written");
}

}  // namespace
}  // namespace halftone::kernel

int main(int argc, char** argv) {
  try {
    CLI::App app("Times the products against the limits of this machine.", "kernel_bench");
    halftone::kernel::Options options;
    app.add_option("--isa", options.isa,
                   "avx2, avx512vnni or amx (default: all that this CPU has)");
    app.add_option("--threads", options.threads, "numbers of threads (default 1,2)")
        ->delimiter(',')
        ->check(CLI::Range(int64_t{1}, int64_t{1024}));
    app.add_option("--seconds", options.seconds, "for each kernel (default 1)");
    app.add_option("--cold-mib", options.cold_mib, "weights that memory-bound kernels walk through")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
    app.add_option("--only", options.only, "kernels whose name holds this");
    app.add_option("--json", options.json, "also write the rows to this file (see roofline.py)");
    app.add_flag("--serve", options.serve,
                 "answer requests on stdin (see kernels.py), with the first number of threads");
    CLI11_PARSE(app, argc, argv);
    if (options.serve) return halftone::kernel::serve(options);
    halftone::kernel::bench(options);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "kernel_bench: %s\n", e.what());
    return 1;
  }
}
