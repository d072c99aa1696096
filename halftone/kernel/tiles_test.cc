#include "halftone/kernel/tiles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "halftone/base/error.h"
#include "halftone/kernel/activations.h"
#include "halftone/kernel/isa.h"
#include "halftone/kernel/test_problem.h"

namespace halftone::kernel {
namespace {

using testing::Problem;

TEST(Tiles, GiveBackEveryCodeAndValue) {
  for (const int bits : {1, 2, 3, 4, 5, 6, 7, 8}) {
    for (const int64_t k : {1, 40, 64, 100, 576}) {
      const Problem p({.bits = bits,
                       .n = 37,
                       .k = k,
                       .group = k == 64 ? 0 : 32,
                       .zeros = bits % 2 == 0,
                       .scales = ScaleType::f32});
      const TiledWeights w = p.tiled();
      EXPECT_EQ(w.bytes(), tiled_bytes(p.spec));
      EXPECT_EQ(reinterpret_cast<uintptr_t>(w.view().data) % 64, 0u);
      EXPECT_EQ(w.view().tile_bytes % 64, 0);
      std::vector<float> row(static_cast<size_t>(k));
      for (int64_t n = 0; n < 37; ++n) {
        w.row(n, row);
        for (int64_t i = 0; i < k; ++i) {
          ASSERT_EQ(w.code(n, i), p.code(n, i)) << bits << " bits, " << n << ", " << i;
          ASSERT_EQ(row[static_cast<size_t>(i)],
                    p.scale(n, i) * static_cast<float>(p.code(n, i) - p.zero(n, i)));
        }
      }
    }
  }
}

TEST(Tiles, HaveTheDocumentedBytes) {
  // The example of the header: one row, four columns, 8 bits.
  TileSpec spec{.rows = 1, .cols = 4, .bits = 8, .zero = 0};
  const std::vector<uint8_t> codes = {1, 2, 3, 4};
  const TiledWeights w = TiledWeights::from_codes(spec, codes, std::vector<float>{1.0f}, {});
  EXPECT_EQ(w.view().codes_offset, 64);
  EXPECT_EQ(w.view().tile_bytes, 64 + 8 * 64);
  const uint8_t* line = w.view().data + 64;
  EXPECT_THAT(std::vector<int>(line, line + 5), ::testing::ElementsAre(1, 2, 3, 4, 0));
  // W4 group 128 on K = 4096: 4.125 bits a weight.
  EXPECT_EQ(tiled_bytes({.rows = 4096, .cols = 4096, .bits = 4, .group = 128}),
            int64_t{4096} * 4096 / 8 * 4125 / 1000);
  EXPECT_EQ(tiled_bytes({.rows = 4096, .cols = 4096, .bits = 3, .group = 64, .zeros = true}),
            int64_t{4096} * 4096 / 8 * 3375 / 1000);
}

TEST(Tiles, NibblesOfALineAreNeighbouringQuads) {
  TileSpec spec{.rows = 2, .cols = 8, .bits = 4, .zero = 0};
  const std::vector<uint8_t> codes = {0, 1, 2, 3, 4, 5, 6, 7, 15, 14, 13, 12, 11, 10, 9, 8};
  const TiledWeights w = TiledWeights::from_codes(spec, codes, std::vector<float>{1, 1}, {});
  const uint8_t* line = w.view().data + w.view().codes_offset;
  EXPECT_THAT(std::vector<int>(line, line + 8),
              ::testing::ElementsAre(0x40, 0x51, 0x62, 0x73, 0xbf, 0xae, 0x9d, 0x8c));
}

TEST(Tiles, PairsHoldTheSameCodesInAsManyBytes) {
  for (const int64_t k : {1, 40, 64, 100, 576})
    for (const bool zeros : {false, true}) {
      const Problem p({.bits = 2, .n = 37, .k = k, .group = 32, .zeros = zeros, .pairs = true});
      const TiledWeights w = p.tiled();
      TileSpec plain = p.spec;
      plain.pairs = false;
      EXPECT_EQ(w.bytes(), tiled_bytes(plain));
      for (int64_t n = 0; n < 37; ++n)
        for (int64_t i = 0; i < k; ++i) {
          ASSERT_EQ(w.code(n, i), p.code(n, i)) << n << ", " << i;
          ASSERT_EQ(w.value(n, i), p.scale(n, i) * static_cast<float>(p.code(n, i) - p.zero(n, i)));
        }
    }
  // The codes 0 1 2 3 of two rows, then 3 2 1 0: byte 0 of each row has k = 0, 1, 8, 9.
  TileSpec spec{.rows = 2, .cols = 10, .bits = 2, .zero = 0, .pairs = true};
  const std::vector<uint8_t> codes = {0, 1, 2, 3, 0, 0, 0, 0, 3, 2, 3, 2, 1, 0, 0, 0, 0, 0, 1, 1};
  const TiledWeights w = TiledWeights::from_codes(spec, codes, std::vector<float>{1, 1}, {});
  const uint8_t* line = w.view().data + w.view().codes_offset;
  EXPECT_EQ(line[0], 0 | (1 << 2) | (3 << 4) | (2 << 6));
  EXPECT_EQ(line[16], 2 | (3 << 2));
  EXPECT_EQ(line[1], 3 | (2 << 2) | (1 << 4) | (1 << 6));
  EXPECT_EQ(line[17], 1);
}

TEST(Tiles, RefuseWhatTheyCannotHold) {
  const auto text = [](const auto& make) -> std::string {
    try {
      make();
    } catch (const Error& e) {
      return e.line();
    }
    return "accepted";
  };
  EXPECT_EQ(text([] { tiled_bytes({.rows = 4, .cols = 64, .bits = 9}); }),
            "error[E_USAGE] tiles: 9 bits cannot be tiled; use 1 to 8");
  EXPECT_EQ(text([] { tiled_bytes({.rows = 4, .cols = 64, .bits = 4, .group = 48}); }),
            "error[E_USAGE] tiles: group 48 is not a multiple of 32; use a multiple of 32, or one "
            "scale per row");
  EXPECT_EQ(text([] { tiled_bytes({.rows = 0, .cols = 64}); }),
            "error[E_MISMATCH] tiles: weights [0, 64] cannot be tiled");
  EXPECT_EQ(text([] { tiled_bytes({.rows = 4, .cols = 64, .bits = 3, .pairs = true}); }),
            "error[E_USAGE] tiles: pairs of codes of 3 bits; pairs are for 2 bits and one level");
  const std::vector<uint8_t> codes = {1, 8};
  EXPECT_EQ(text([&] {
              TiledWeights::from_codes({.rows = 1, .cols = 2, .bits = 3}, codes,
                                       std::vector<float>{1}, {});
            }),
            "error[E_USAGE] tiles: code 8 of row 0 does not fit 3 bits");
  EXPECT_EQ(
      text([&] {
        TiledWeights::from_codes({.rows = 1, .cols = 2, .bits = 4}, codes, std::vector<float>{0.1f},
                                 {});
      }),
      "error[E_NONFINITE] tiles: the scale of row 0, group 0 does not fit f16; keep f32 scales");
  EXPECT_EQ(text([&] {
              TiledWeights::from_codes({.rows = 1, .cols = 2, .bits = 4}, codes,
                                       std::vector<float>{std::nanf("")}, {});
            }),
            "error[E_NONFINITE] tiles: the scale of row 0, group 0 is not finite");
  EXPECT_EQ(
      text([&] {
        TiledWeights::from_codes({.rows = 1, .cols = 3, .bits = 4}, codes, std::vector<float>{1},
                                 {});
      }),
      "error[E_MISMATCH] tiles: codes, scales or zero-points do not match [1, 3] with 1 groups");
  EXPECT_EQ(text([&] {
              TiledWeights::from_codes({.rows = 1, .cols = 2, .bits = 4, .zeros = true}, codes,
                                       std::vector<float>{1}, std::vector<uint8_t>{17});
            }),
            "error[E_USAGE] tiles: zero-point 17 is not in 0..16");
}

TEST(Tiles, LieInCommonMemoryAsInTheirOwn) {
  std::vector<float> values(40 * 70);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251) - 100.0f;
  ThreadPool pool(2);
  auto memory = std::make_unique<TileMemory>();
  std::vector<TiledWeights> held;
  for (int i = 0; i < 3; ++i)
    held.push_back(TiledWeights::from_f32(40, 70, values, {&pool, memory.get()}));
  const std::shared_ptr<std::byte> large = memory->take(int64_t{100} << 20);  // more than a region
  EXPECT_EQ(reinterpret_cast<uintptr_t>(large.get()) % 64, 0u);
  EXPECT_EQ(large.get()[(100 << 20) - 1], std::byte{0});
  memory.reset();  // what was taken stays
  const TiledWeights own = TiledWeights::from_f32(40, 70, values);
  for (const TiledWeights& w : held) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(w.view().data) % 64, 0u);
    EXPECT_NE(w.view().data, own.view().data);
    EXPECT_TRUE(std::ranges::equal(w.tile_data(), own.tile_data()));
  }
  EXPECT_EQ(held[1].view().data - held[0].view().data, held[0].bytes());
}

TEST(Tiles, OfACodeBookAreFoundAgainInAFile) {
  std::vector<float> book;
  for (int i = 0; i < 16; ++i) book.push_back(0.13f * static_cast<float>(i) - 1.0f);
  std::vector<uint8_t> codes(20 * 64);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<uint8_t>(i * 7 % 16);
  const TiledWeights w =
      TiledWeights::from_codes({.rows = 20, .cols = 64, .bits = 4, .group = 32, .book = book},
                               codes, std::vector<float>(40, 0.5f), {});
  const TiledWeights again = TiledWeights::mapped(w.view(), w.tile_data(), nullptr);
  for (int64_t n = 0; n < 20; ++n)
    for (int64_t k = 0; k < 64; ++k) ASSERT_EQ(again.value(n, k), w.value(n, k));
  EXPECT_EQ(again.view().zero, w.view().zero);
}

TEST(Tiles, AReaderThatThrowsReachesTheCaller) {
  ThreadPool pool(2);
  const auto row = [](int64_t n, std::span<uint8_t>, std::span<float>, std::span<uint8_t>) {
    if (n == 70) throw FileError(Code::truncated, "w.bin", "row 70 is missing");
  };
  EXPECT_THROW(TiledWeights::from_codes({.rows = 100, .cols = 64}, row, &pool), FileError);
}

// What a file holds -> tiles must be what its codes, one byte each, give.
struct WordCase {
  int bits;
  int64_t n, k, group;
  bool zeros, down, signed_bytes;
};

TEST(Tiles, WordsGiveTheTilesOfTheirCodes) {
  std::vector<WordCase> cases;
  for (const int bits : {2, 4, 8})
    for (const int64_t n : {1, 15, 16, 17, 40})
      for (const int64_t k : {32, 96, 160})
        for (const int64_t group : {0, 32, 64})
          for (const bool zeros : {false, true})
            for (const bool down : {false, true})
              cases.push_back({bits, n, k, group, zeros, down, false});
  for (const int64_t k : {1, 5, 7, 16, 33, 63, 129})  // rows that end inside a word
    for (const int bits : {2, 4, 8}) cases.push_back({bits, 19, k, 0, false, false, false});
  for (const int64_t k : {1, 31, 32, 70}) cases.push_back({8, 35, k, 32, true, false, true});
  ThreadPool pool(2);
  TileMemory memory;
  for (const WordCase& c : cases) {
    SCOPED_TRACE(std::to_string(c.bits) + " bits, " + std::to_string(c.n) + " x " +
                 std::to_string(c.k) + ", group " + std::to_string(c.group) +
                 (c.zeros ? ", zeros" : "") + (c.down ? ", down" : "") +
                 (c.signed_bytes ? ", signed" : ""));
    const Problem problem({.bits = c.bits, .n = c.n, .k = c.k, .group = c.group, .zeros = c.zeros});
    const TiledWeights wanted = problem.tiled();
    const int64_t per_word = 32 / c.bits, words = (c.k + per_word - 1) / per_word;
    // One byte off any alignment, and what lies behind the codes of a row is not zero.
    const int64_t stride = c.signed_bytes ? c.k : c.down ? 4 * c.n : 4 * words;
    std::vector<std::byte> file(static_cast<size_t>(1 + 4 * words * c.n + 64), std::byte{0xff});
    for (int64_t n = 0; n < c.n; ++n) {
      for (int64_t k = 0; k < c.k; ++k) {
        const int code = problem.codes[static_cast<size_t>(n * c.k + k)];
        const int64_t at = c.down ? k / per_word * stride + 4 * n + k % per_word * c.bits / 8
                                  : n * stride + k * c.bits / 8;
        const int shift = static_cast<int>(k % per_word * c.bits % 8), mask = ((1 << c.bits) - 1)
                                                                              << shift;
        auto& byte = file[static_cast<size_t>(1 + at)];
        byte = (byte & static_cast<std::byte>(~mask)) |
               static_cast<std::byte>((c.signed_bytes ? code ^ 128 : code) << shift);
      }
    }
    const int64_t groups = problem.groups;
    std::vector<uint16_t> halves(static_cast<size_t>(c.n * groups));
    for (int64_t n = 0; n < c.n; ++n)
      for (int64_t g = 0; g < groups; ++g)
        halves[static_cast<size_t>(c.down ? g * c.n + n : n * groups + g)] =
            f32_to_f16(problem.scales[static_cast<size_t>(n * groups + g)]);
    for (const TileBuild build : {TileBuild(), TileBuild(&pool, &memory)}) {
      const TiledWeights got =
          TiledWeights::from_words(problem.spec,
                                   {.data = file.data() + 1,
                                    .stride = stride,
                                    .down = c.down,
                                    .signed_bytes = c.signed_bytes},
                                   {.data = std::as_bytes(std::span(halves)).data(),
                                    .row = c.down ? 1 : groups,
                                    .group = c.down ? c.n : 1},
                                   problem.zeros, build);
      ASSERT_TRUE(std::ranges::equal(got.tile_data(), wanted.tile_data()));
    }
  }
}

TEST(Tiles, DenseRowsLieColumnByColumn) {
  ThreadPool pool(2);
  TileMemory memory;
  for (const Store store : {Store::f32, Store::f16, Store::bf16}) {
    const int64_t size = store == Store::f32 ? 4 : 2;
    for (const int64_t n : {1, 15, 16, 17, 48})
      for (const int64_t k : {1, 3, 4, 7, 8, 9, 31, 64}) {
        SCOPED_TRACE(std::to_string(size) + " bytes, " + std::to_string(n) + " x " +
                     std::to_string(k));
        std::vector<std::byte> rows(static_cast<size_t>(n * k * size));
        for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::byte>(i * 37 + i / 256);
        const TiledWeights got = TiledWeights::from_dense(n, k, store, rows, {&pool, &memory});
        std::vector<std::byte> wanted(static_cast<size_t>(got.bytes()));
        for (int64_t r = 0; r < n; ++r)
          for (int64_t c = 0; c < k; ++c)
            std::copy_n(rows.begin() + (r * k + c) * size, size,
                        wanted.begin() + r / 16 * got.view().tile_bytes + (c * 16 + r % 16) * size);
        ASSERT_TRUE(std::ranges::equal(got.tile_data(), wanted));
        const TiledWeights read =
            TiledWeights::from_dense(n, k, store, [&](int64_t r, std::span<std::byte> out) {
              std::copy_n(rows.begin() + r * k * size, out.size(), out.begin());
            });
        ASSERT_TRUE(std::ranges::equal(read.tile_data(), wanted));
      }
  }
}

TEST(Tiles, UnitsDivideTheGroup) {
  const auto unit = [](int64_t k, int64_t group, int64_t limit) {
    return unit_for(Problem({.bits = 4, .n = 1, .k = k, .group = group}).tiled().view(), limit);
  };
  EXPECT_EQ(unit(576, 64, 256), 64);
  EXPECT_EQ(unit(576, 64, 32), 32);
  EXPECT_EQ(unit(1152, 576, 256), 192);
  EXPECT_EQ(unit(576, 0, 256), 256);
  EXPECT_EQ(unit(40, 0, 256), 64);
  EXPECT_EQ(unit(1024, 512, 96), 64);
}

TEST(Tiles, TwoLevelScalesRoundEachByLittle) {
  const Problem p({.bits = 4, .n = 40, .k = 600, .group = 32, .super = 256});
  const TiledWeights w = p.tiled();
  EXPECT_EQ(w.bytes(), tiled_bytes(p.spec));
  for (int64_t n = 0; n < 40; ++n)
    for (int64_t k = 0; k < 600; ++k) {
      float most = 0;
      for (int64_t g = k / 256 * 8; g < std::min<int64_t>(p.groups, k / 256 * 8 + 8); ++g)
        most = std::max(most, p.scales[static_cast<size_t>(n * p.groups + g)]);
      const auto centred = static_cast<float>(p.code(n, k) - p.zero(n, k));
      // half a step of u = 1 / 510 of the largest, and the rounding of that to f16
      ASSERT_LE(std::abs(w.value(n, k) - p.scale(n, k) * centred),
                std::abs(centred) * most * (1.0f / 510 + 0x1p-10f));
    }
  const auto refused = [](const TileSpec& spec) { EXPECT_THROW(tiled_bytes(spec), InputError); };
  refused({.rows = 16, .cols = 512, .bits = 8, .group = 32, .zero = 128, .super = 64});
  refused({.rows = 16, .cols = 512, .bits = 4, .group = 32, .zeros = true, .super = 64});
  refused({.rows = 16, .cols = 512, .bits = 4, .group = 64, .super = 96});
  refused({.rows = 16, .cols = 1024, .bits = 4, .group = 64, .super = 512});
  Problem negative({.bits = 4, .n = 1, .k = 64, .group = 32, .super = 64});
  negative.scales[1] = -0.5f;
  EXPECT_THROW(negative.tiled(), NumericError);
}

TEST(Activations, AreTheSameIntegersOnEveryIsa) {
  for (const int64_t k : {1, 31, 32, 33, 100, 576}) {
    for (const int64_t m : {1, 5, 8, 9, 17}) {
      Problem p({.bits = 4, .n = 1, .k = k, .group = 0, .m = m, .block = 64});
      for (int64_t i = 0; i < m * k; i += 5)
        p.x[static_cast<size_t>(i)] = 0.5f * static_cast<float>(i % 9);  // ties
      for (int64_t i = 0; i < k; ++i)
        p.x[static_cast<size_t>(i)] *= m == 5 ? 1e-35f : 1.0f;  // a row that counts as zero
      const TiledWeights w = p.tiled();
      for (const int64_t block : {32, 64, 256}) {
        const ActivationPlan plan = plan_int8(w.view(), block);
        for (const Kernels* kernels : testing::tables_here()) {
          Activations a;
          prepare(a, *kernels, plan, p.x.data(), m, k);
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t begin = 0; begin < k; begin += plan.block) {
              const int64_t end = std::min(k, begin + plan.block);
              float most = 0;
              for (int64_t c = begin; c < end; ++c)
                most = std::max(most, std::abs(p.x[static_cast<size_t>(i * k + c)]));
              const bool zero = most < 0x1p-100f;
              ASSERT_EQ(a.scale(i, begin / plan.unit), zero ? 0.0f : most / 127.0f)
                  << kernels->name;
              for (int64_t c = begin; c < end; ++c) {
                const float x = p.x[static_cast<size_t>(i * k + c)];
                ASSERT_EQ(a.code(i, c),
                          zero ? 0 : static_cast<int>(std::nearbyint(x * (127.0f / most))))
                    << kernels->name << " k " << c;
                ASSERT_LE(std::abs(a.value(i, c) - x),
                          0.5001f * a.scale(i, c / plan.unit) + (zero ? 0x1p-100f : 0.0f));
              }
            }
            for (int64_t u = 0; u < plan.units(); ++u) {
              int sum = 0;
              for (int64_t c = u * plan.unit; c < std::min(k, (u + 1) * plan.unit); ++c)
                sum += a.code(i, c);
              ASSERT_EQ(a.sum(i, u), sum) << kernels->name;
            }
          }
        }
      }
    }
  }
}

// As matmul.h says, and with the same bytes on every instruction set.
TEST(Activations, TablesHoldWhatPairsAdd) {
  for (const int64_t k : {1, 31, 33, 100, 576})
    for (const int64_t m : {1, 5, 17}) {
      Problem p({.bits = 2, .n = 1, .k = k, .group = 0, .m = m, .pairs = true});
      for (int64_t i = 0; i < m * k; i += 5)
        p.x[static_cast<size_t>(i)] = 0.5f * static_cast<float>(i % 9);  // ties
      for (int64_t i = 0; i < k; ++i)
        p.x[static_cast<size_t>(i)] *= m == 5 ? 1e-35f : 1.0f;  // a row that counts as zero
      const auto at = [&](int64_t i, int64_t c) {
        return c < k ? p.x[static_cast<size_t>(i * k + c)] : 0.0f;
      };
      for (const int64_t block : {32, 64, 128, 256}) {
        const TiledWeights w = p.tiled();
        const ActivationPlan plan = plan_int8(w.view(), block);
        ASSERT_TRUE(plan.pairs);
        ASSERT_EQ(plan.block, plan.unit);
        for (const Kernels* kernels : testing::tables_here()) {
          Activations a;
          prepare(a, *kernels, plan, p.x.data(), m, k);
          EXPECT_EQ(a.rows_per_panel(), 1);
          for (int64_t i = 0; i < m; ++i)
            for (int64_t u = 0; u < plan.units(); ++u) {
              const int64_t begin = u * plan.unit,
                            end = std::min(plan.padded_cols, begin + plan.unit);
              float most = 0;
              for (int64_t c = begin; c < end; c += 2)
                most = std::max(most, std::abs(at(i, c)) / 2 + std::abs(at(i, c + 1)) / 2);
              const bool zero = most < 0x1p-100f;
              ASSERT_EQ(a.scale(i, u), zero ? 0.0f : most / 10836.0f) << kernels->name;
              const auto whole = [&](int64_t c) {
                return zero ? 0 : static_cast<int>(std::nearbyint(at(i, c) * (5418.0f / most)));
              };
              int sum = 0;
              for (int64_t c = begin; c < end; c += 2) {
                sum += whole(c) + whole(c + 1);
                for (int codes = 0; codes < 16; ++codes) {
                  const int both =
                      (2 * (codes % 4) - 3) * whole(c) + (2 * (codes / 4) - 3) * whole(c + 1);
                  ASSERT_EQ(a.table(i, c / 2, codes), std::floor((both + 128) / 256.0))
                      << kernels->name << " k " << c;
                  ASSERT_LE(std::abs(a.table(i, c / 2, codes)), 127);
                }
              }
              ASSERT_EQ(a.sum(i, u), sum) << kernels->name;
            }
        }
      }
    }
}

TEST(Activations, ANonFiniteValueMakesItsRowNaNAndNoOther) {
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    for (const int64_t m : {3, 10}) {
      Problem p({.bits = 4, .n = 20, .k = 96, .group = 32, .m = m});
      std::fill(p.scales.begin(), p.scales.end(), 1.0f);
      p.x[static_cast<size_t>(1 * 96 + 40)] = bad;
      const TiledWeights w = p.tiled();
      Problem q({.bits = 2, .n = 20, .k = 96, .group = 32, .m = m, .pairs = true});
      q.scales = p.scales;
      q.x = p.x;
      const TiledWeights pairs = q.tiled();
      for (const Kernels* kernels : testing::tables_here()) {
        for (const ActivationPlan& plan :
             {plan_int8(w.view(), 32), plan_int8(pairs.view(), 32), plan_float(w.view())}) {
          const auto y = testing::multiply(*kernels, plan.pairs ? pairs : w, plan, p.x, m);
          for (int64_t i = 0; i < m; ++i)
            for (int64_t n = 0; n < 20; ++n) {
              if (plan.int8) {
                ASSERT_EQ(std::isnan(y[static_cast<size_t>(i * 20 + n)]), i == 1) << kernels->name;
              }
              ASSERT_EQ(!std::isfinite(y[static_cast<size_t>(i * 20 + n)]), i == 1)
                  << kernels->name;
            }
        }
      }
    }
  }
}

TEST(Isa, IsForcedByNameOrRefused) {
  EXPECT_EQ(choose_isa(nullptr), usable_isas().back());
  EXPECT_EQ(choose_isa(""), usable_isas().back());
  for (const Isa isa : usable_isas()) {
    EXPECT_EQ(choose_isa(std::string(isa_name(isa)).c_str()), isa);
    EXPECT_EQ(kernels_for(isa).name, isa_name(isa));  // the forced one is the one that runs
  }
  try {
    choose_isa("sse9");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.line(),
              "error[E_USAGE] HALFTONE_ISA: unknown instruction set \"sse9\"; one of: scalar, "
              "avx2, avx512vnni, amx, neon");
  }
  EXPECT_FALSE(cpu_name().empty());
}

// The sweeps run over this list; nothing drops out of it silently.
TEST(Isa, EverySweepIncludesEverySetThisMachineCanRunOrEmulate) {
  std::vector<std::string> names;
  for (const Kernels* kernels : testing::tables_here()) names.emplace_back(kernels->name);
  EXPECT_THAT(names, ::testing::Contains("scalar"));
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)  // CMakeLists.txt says why
  EXPECT_THAT(names, ::testing::IsSupersetOf({"avx512vnni (emulated)", "amx (emulated)"}));
#endif
  for (const auto& name : names) std::cout << "[ kernels  ] " << name << "\n";
  const auto emulated = std::ranges::count_if(
      names, [](const std::string& name) { return name.ends_with("(emulated)"); });
  EXPECT_EQ(names.size(), usable_isas().size() + static_cast<size_t>(emulated));
}

}  // namespace
}  // namespace halftone::kernel
