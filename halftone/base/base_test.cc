#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "halftone/base/bytes.h"
#include "halftone/base/entries.h"
#include "halftone/base/env.h"
#include "halftone/base/fields.h"
#include "halftone/base/half.h"
#include "halftone/base/hash.h"
#include "halftone/base/json.h"
#include "halftone/base/numbers.h"
#include "halftone/base/rng.h"
#include "halftone/base/tensor.h"
#include "halftone/base/threads.h"

namespace halftone {
namespace {

TEST(Error, IsOneLineWithFactsAndRemedy) {
  FileError e(Code::bounds, "model.safetensors", "range 0..8 ends past the data", 12,
              "download it again");
  e.note("tensor \"a.b\"");
  EXPECT_EQ(e.line(),
            "error[E_BOUNDS] model.safetensors: tensor \"a.b\": range 0..8 ends past the data (at "
            "byte 12); download it again");
  EXPECT_EQ(e.exit(), Exit::bad_input);
}

TEST(Error, QuotedEscapesControlBytesAndCuts) {
  EXPECT_EQ(quote("a\n\"\x1b"), "\"a\\x0a\\\"\\x1b\"");
  EXPECT_EQ(quote(std::string(200, 'x')).size(), 120u + 5u);
}

TEST(Numbers, KeepTheirSignificantDigits) {
  const std::pair<double, const char*> cases[] = {{0, "0"},
                                                  {1234.5, "1234"},
                                                  {12.345, "12.3"},
                                                  {-0.056789, "-0.0568"},
                                                  {0.00012, "0.000120"},
                                                  {0.0000123, "1.23e-05"},
                                                  {6543210, "6543210"},
                                                  {7.5e7, "7.50e+07"}};
  for (const auto& [x, text] : cases) EXPECT_EQ(significant(x), text);
  EXPECT_EQ(significant(3.14159, 5), "3.1416");
  EXPECT_EQ(significant(INFINITY), "inf");
}

TEST(Numbers, CountThings) {
  EXPECT_EQ(counted(0, "window"), "0 windows");
  EXPECT_EQ(counted(1, "window"), "1 window");
  EXPECT_EQ(counted(2, "blank line"), "2 blank lines");
}

TEST(Names, AreListedAndTheNearestIsAskedFor) {
  const std::vector<std::string> names = {"nearest", "gptq", "obq"};
  EXPECT_EQ(listed(names), "nearest, gptq, obq");
  EXPECT_EQ(listed(std::vector<int>{1, 2}, [](int i) { return std::to_string(i); }), "1, 2");
  EXPECT_EQ(listed(std::vector<std::string>{}), "");
  EXPECT_EQ(did_you_mean("gtpq", names), "did you mean gptq?");
  EXPECT_EQ(did_you_mean("quip", names), "known: nearest, gptq, obq");
  EXPECT_EQ(did_you_mean("quip", names, "there are three"), "there are three");
  EXPECT_EQ(did_you_mean("quip", names, ""), "");
}

TEST(Error, NothingInALineMovesTheCursor) {
  const FileError e(Code::missing, "a\x1b[2J\rb\nc\x7f", "no such file");
  EXPECT_EQ(e.line(), "error[E_MISSING] a\\x1b[2J\\x0db c\\x7f: no such file");
  EXPECT_EQ(printable("gr\u00f6\u00dfer\tx"), "gr\u00f6\u00dfer\\x09x");
  EXPECT_EQ(printable("a\tb\n\x1b", true), "a\tb\n\\x1b");
  EXPECT_EQ(printable("\xc2\x9b"
                      "2J"),
            "\\xc2\\x9b2J");                    // CSI as one character
  EXPECT_EQ(printable("caf\xe9"), "caf\\xe9");  // no UTF-8: byte by byte
}

TEST(Error, NearestNameFindsSlipsOnly) {
  EXPECT_EQ(nearest_name("dampin", {"block", "damping"}), "damping");
  EXPECT_EQ(nearest_name("zzzzzz", {"block", "damping"}), std::nullopt);
  EXPECT_EQ(nearest_name("awq", {"gptq", "obq", "rtn"}), std::nullopt);
  EXPECT_EQ(nearest_name("rtm", {"gptq", "obq", "rtn"}), "rtn");
  EXPECT_EQ((Table<int>("transform", {}).find("x")), nullptr);
  try {
    Table<int>("transform", {}).at("smooth_quant");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.line(),
              "error[E_USAGE] transform: unknown transform \"smooth_quant\"; none is built in yet");
  }
}

TEST(Half, RoundTripsEveryFiniteHalf) {
  for (uint32_t h = 0; h < 65536; ++h) {
    const auto bits = static_cast<uint16_t>(h);
    if ((bits & 0x7c00u) == 0x7c00u && (bits & 0x3ffu)) continue;
    ASSERT_EQ(f32_to_f16(f16_to_f32(bits)), bits) << h;
  }
}

TEST(Half, RoundsHalfToEvenAndAgreesWithTheCompiler) {
  const CounterRng rng(1);
  for (uint64_t i = 0; i < 200000; ++i) {
    const float v = std::bit_cast<float>(rng.u32(i));
    if (std::isnan(v)) continue;
#if defined(__aarch64__)
    const auto h = static_cast<__fp16>(v);  // GCC 12 has _Float16 in C++ only for x86
#else
    const auto h = static_cast<_Float16>(v);
#endif
    ASSERT_EQ(f32_to_f16(v), std::bit_cast<uint16_t>(h)) << v;
  }
}

TEST(Json, RefusesWhatShouldNotPass) {
  const auto code = [](std::string_view text) {
    try {
      parse_json(text, "x.json");
    } catch (const Error& e) {
      return e.code();
    }
    return Code::internal;
  };
  EXPECT_EQ(code("{\"a\":1,\"a\":2}"), Code::duplicate);
  EXPECT_EQ(code("{\"a\":NaN}"), Code::json);
  EXPECT_EQ(code("{\"a\":1e999}"), Code::json);
  EXPECT_EQ(code("{} {}"), Code::json);
  EXPECT_EQ(code("\xEF\xBB\xBF{}"), Code::json);
  EXPECT_EQ(code("{\"a\":\"\xff\"}"), Code::utf8);
  EXPECT_EQ(code("\"\\ud800\""), Code::json);
  EXPECT_EQ(code(std::string(100000, '[')), Code::depth);
  EXPECT_EQ(canonical(parse_json("{\"b\":[1,{\"z\":0.1,\"y\":null}],\"a\":true}", "x")),
            "{\"a\":true,\"b\":[1,{\"y\":null,\"z\":0.1}]}");
}

TEST(ByteReader, NeverReadsPastTheEnd) {
  const std::string raw = "abcdef";
  ByteReader reader(std::as_bytes(std::span(raw)), "f");
  EXPECT_EQ(reader.u32(), 0x64636261u);
  EXPECT_THROW(reader.u32(), FileError);
  EXPECT_THROW(checked_mul(1ull << 63, 2, "x"), FileError);
  EXPECT_THROW(checked_add(INT64_MAX, 1, "x"), FileError);  // sizes are int64_t
  EXPECT_THROW(round_up(~0ull, 32, "x"), FileError);
}

TEST(ByteReader, OfAStartAsksForMoreAndChecksAgainstTheWhole) {
  const std::string raw = "abcdef";
  ByteReader reader(std::as_bytes(std::span(raw)), "f", 0, 8);
  EXPECT_EQ(reader.u32(), 0x64636261u);
  EXPECT_EQ(reader.left(), 4u);
  EXPECT_EQ(reader.at_hand(), 2u);
  try {
    reader.u32("a count");
    FAIL();
  } catch (const NeedMore& more) {
    EXPECT_EQ(more.bytes, 8u);
  }
  EXPECT_THROW(reader.seek(7), NeedMore);
  EXPECT_EQ(reader.position(), 4u);  // what could not be read was not passed
  try {
    reader.u64("a count");
    FAIL();
  } catch (const FileError& e) {
    EXPECT_EQ(e.line(),
              "error[E_TRUNC] f: ends inside a count: 8 bytes wanted, 4 left (at byte 4); download "
              "it again");
  }
}

TEST(PythonRandom, EqualsCPython) {
  PythonRandom raw(0);
  for (uint32_t want : {3626764237u, 1654615998u, 3255389356u, 3823568514u})
    EXPECT_EQ(raw.next32(), want);
  PythonRandom ints(0);
  for (int64_t want : {201979, 220500, 21225, 135746, 268055, 254766})
    EXPECT_EQ(ints.randint(0, 339420), want);
}

// random.Random(1234).sample(range(n), k), twice from one generator.
TEST(PythonRandom, SamplesAsCPython) {
  using testing::ElementsAre;
  PythonRandom small(1234), large(1234), edge(1234), all(1234);
  EXPECT_THAT(small.sample(10, 3), ElementsAre(7, 1, 0));
  EXPECT_THAT(small.sample(10, 3), ElementsAre(1, 0, 9));
  EXPECT_THAT(large.sample(1838, 6), ElementsAre(1593, 902, 239, 15, 185, 1652));
  EXPECT_THAT(large.sample(1838, 6), ElementsAre(1192, 71, 1375, 1419, 171, 201));
  EXPECT_THAT(edge.sample(22, 5), ElementsAre(14, 3, 0, 2, 18));  // above 21: drawn, not shuffled
  EXPECT_THAT(edge.sample(21, 5), ElementsAre(1, 2, 3, 11, 7));
  EXPECT_THAT(all.sample(5, 5), ElementsAre(3, 0, 4, 2, 1));
}

TEST(CounterRng, EqualsThePublishedPhiloxVector) {
  // Random123 known-answer test for philox4x32-10 with all-zero counter and key.
  EXPECT_THAT(CounterRng(0).block(0),
              testing::ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
}

TEST(ThreadPool, RunsEveryTaskOnceAndForwardsExceptions) {
  for (int64_t threads : {1, 2, 3, 5}) {
    ThreadPool pool(threads);
    std::vector<std::atomic<int>> hits(1000);
    for (int round = 0; round < 50; ++round)
      pool.each(1000, [&](int64_t i) { hits[static_cast<size_t>(i)]++; });
    for (auto& h : hits) ASSERT_EQ(h.load(), 50);
    EXPECT_THROW(pool.each(10,
                           [](int64_t i) {
                             if (i == 7) throw InputError("x", "y");
                           }),
                 InputError);
    std::atomic<int64_t> covered{0};
    pool.split(17, [&](int64_t a, int64_t b) { covered += b - a; });
    EXPECT_EQ(covered.load(), 17);
  }
}

TEST(ThreadPool, PinnedWorkersStayOnACpuEach) {
  const int64_t cores = usable_cores();
  const int64_t threads = std::min<int64_t>(cores, 4);
  for (const bool pinned : {false, true}) {
    ThreadPool pool(threads, pinned);
    std::vector<cpu_set_t> masks(static_cast<size_t>(threads));
    pool.run([&](int64_t worker, int64_t) {
      ::sched_getaffinity(0, sizeof(cpu_set_t), &masks[static_cast<size_t>(worker)]);
    });
    EXPECT_EQ(CPU_COUNT(&masks[0]), cores);
    cpu_set_t all;
    CPU_ZERO(&all);
    for (int64_t i = 1; i < threads; ++i) {
      EXPECT_EQ(CPU_COUNT(&masks[static_cast<size_t>(i)]), pinned ? 1 : cores);
      CPU_OR(&all, &all, &masks[static_cast<size_t>(i)]);
    }
    EXPECT_EQ(CPU_COUNT(&all), pinned || threads == 1 ? threads - 1 : cores);
  }
}

TEST(ThreadPool, WhatOneRoundWritesTheNextReads) {
  // Plain memory, handed over by the pool alone: ThreadSanitizer sees it if a path (spinning,
  // parking, waking, failing) forgets to.
  for (int64_t threads : {2, 3, 5}) {
    ThreadPool pool(threads);
    const auto n = static_cast<size_t>(threads);
    std::vector<int64_t> mine(n, 0), others(n, 0);
    int64_t given = 0;
    for (int round = 1; round <= 400; ++round) {
      given = round;
      if (round % 20 == 0) ::usleep(200);  // longer than workers spin: they park
      const bool fails = round % 7 == 0;
      try {
        pool.run([&](int64_t worker, int64_t) {
          const auto w = static_cast<size_t>(worker);
          // of the round before, by another worker; nobody writes it now
          others[w] += mine[(w + 1) % n];
          if (fails && worker == threads - 1) throw InputError("worker", std::to_string(given));
        });
        EXPECT_FALSE(fails);
      } catch (const InputError& e) {
        EXPECT_TRUE(fails);
        EXPECT_EQ(e.fact(), std::to_string(round));
      }
      pool.run([&](int64_t worker, int64_t) {
        mine[static_cast<size_t>(worker)] += given;
        if (round % 50 == 0 && worker != 0) ::usleep(200);  // the caller parks
        pool.run([&](int64_t inner, int64_t workers) {
          mine[static_cast<size_t>(worker)] += inner + workers - 1;
        });  // on this worker
      });
    }
    for (size_t w = 0; w < n; ++w) {
      EXPECT_EQ(mine[w], 400 * 401 / 2);
      EXPECT_EQ(others[w], others[0]);
    }
  }
}

struct Options {
  int64_t block = 128;
  double damping = 0.01;
  bool sorted = false;
  std::string kind = "a";
};
void fields(auto& visit, Options& o) {
  visit("block", o.block, "columns");
  visit("damping", o.damping, "lambda");
  visit("sorted", o.sorted, "");
  visit("kind", o.kind, "");
}

TEST(Fields, OneListServesReadingWritingAndHelp) {
  const auto o =
      read_fields<Options>(parse_json("{\"block\":64,\"damping\":1}", "r"), "rounder gptq");
  EXPECT_EQ(write_fields(o).dump(),
            "{\"block\":64,\"damping\":1.0,\"sorted\":false,\"kind\":\"a\"}");
  try {
    read_fields<Options>(parse_json("{\"dampin\":1}", "r"), "rounder gptq");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.line(),
              "error[E_USAGE] rounder gptq: unknown key \"dampin\"; did you mean damping?");
  }
  EXPECT_THROW(read_fields<Options>(parse_json("{\"block\":1.5}", "r"), "x"), InputError);
  EXPECT_EQ(describe_fields<Options>()[1].default_value, "0.01");
}

TEST(Env, AtomicWriteLeavesOldBytesWhenAnythingFails) {
  auto env = posix_env();
  const std::string dir = testing::TempDir() + "halftone_env";
  env->remove_tree(dir);
  env->make_directories(dir);
  const std::string path = join_path(dir, "f");
  write_atomically(*env, path, "old");
  for (const char* broken : {"create", "write", "sync", "close", "rename"}) {
    auto faulty = fault_env(*env, [&](std::string_view operation, const std::string&) {
      return operation == broken ? ENOSPC : 0;
    });
    EXPECT_THROW(write_atomically(*faulty, path, "new"), IoError) << broken;
    EXPECT_EQ(env->read_text(path, 100), "old");
    EXPECT_EQ(env->list(dir).size(), 1u) << broken;
  }
  EXPECT_THROW(env->open(dir), FileError);
  EXPECT_THROW(env->open(join_path(dir, "absent")), FileError);
  env->remove_tree(dir);
}

TEST(Env, ExchangeSwapsTwoFolders) {
  auto env = posix_env();
  const std::string dir = testing::TempDir() + "halftone_env_exchange";
  env->remove_tree(dir);
  for (const char* name : {"a", "b"}) {
    env->make_directories(join_path(dir, name));
    write_atomically(*env, join_path(dir, std::string(name) + "/f"), name);
  }
  env->exchange(join_path(dir, "a"), join_path(dir, "b"));
  EXPECT_EQ(env->read_text(join_path(dir, "a/f"), 10), "b");
  EXPECT_EQ(env->read_text(join_path(dir, "b/f"), 10), "a");
  EXPECT_THROW(env->exchange(join_path(dir, "a"), join_path(dir, "absent")), IoError);
  env->remove_tree(dir);
}

TEST(Env, RemovingATreeStopsAtLinks) {
  auto env = posix_env();
  const std::string dir = testing::TempDir() + "halftone_env_links";
  env->remove_tree(dir);
  env->make_directories(join_path(dir, "kept"));
  env->make_directories(join_path(dir, "tree/inner"));
  write_atomically(*env, join_path(dir, "kept/f"), "x");
  ASSERT_EQ(::symlink("../kept", join_path(dir, "tree/link").c_str()), 0);
  ASSERT_EQ(::symlink("nowhere", join_path(dir, "tree/dangling").c_str()), 0);
  env->remove_tree(join_path(dir, "tree"));
  EXPECT_EQ(env->read_text(join_path(dir, "kept/f"), 10), "x");
  EXPECT_FALSE(env->stat(join_path(dir, "tree")));
  env->remove_tree(dir);
  EXPECT_FALSE(env->stat(dir));
}

}  // namespace
}  // namespace halftone
