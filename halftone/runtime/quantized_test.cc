// Real low-bit weights against a dense run of the same numbers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "halftone/base/rng.h"
#include "halftone/kernel/isa.h"
#include "halftone/pack/test_wrapped.h"
#include "halftone/runtime/program.h"
#include "halftone/runtime/test_quantized.h"
#include "halftone/runtime/test_support.h"

namespace halftone::runtime {
namespace {

using testing::all_logits;
using testing::Bench;
using testing::fixture;
using testing::max_difference;
using testing::Quantized;
using testing::some_ids;

Matrix<float> run(std::shared_ptr<const pack::PackedModel> packed, const LoadOptions& options,
                  Bench& bench) {
  Session session(Model::load(std::move(packed), options, bench.context), {.chunk = 16},
                  bench.context);
  return all_logits(session, some_ids(30));
}

double root_mean_square(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i)
    sum += std::pow(static_cast<double>(a[i]) - static_cast<double>(b[i]), 2);
  return std::sqrt(sum / static_cast<double>(a.size()));
}

struct Case {
  const char* model;
  format::Format format;
  std::string name() const {
    return std::string(model) + "_" + format.label() +
           (format.granularity == format::Granularity::tensor ? "_tensor" : "");
  }
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name(); }
};

class EveryFormat : public ::testing::TestWithParam<Case> {};

// Real and simulated differ in the order of roundings only: s * sum((q - z) x) against sum((s (q -
// z)) x). Both are within kTolerance of the exact numbers, as any float32 engine is on these models
// (tests/fixtures/models/README.md): twice that apart.
constexpr double kTolerance = 6e-5;

TEST_P(EveryFormat, ExactModeIsTheDenseRunOfTheDequantizedWeights) {
  Bench bench;
  const auto dense =
      pack::open_model(fixture(std::string("models/") + GetParam().model), bench.context);
  const auto real = run(std::make_shared<Quantized>(dense, GetParam().format, false), {}, bench);
  const auto simulated =
      run(std::make_shared<Quantized>(dense, GetParam().format, true), {}, bench);
  EXPECT_LE(max_difference(real.data, simulated.data), kTolerance);
  // And quantization did something.
  EXPECT_GT(max_difference(real.data, run(dense, {}, bench).data), 1e-3);
}

TEST_P(EveryFormat, Int8ActivationsStayNearTheExactOnes) {
  Bench bench;
  const auto dense =
      pack::open_model(fixture(std::string("models/") + GetParam().model), bench.context);
  const auto packed = std::make_shared<Quantized>(dense, GetParam().format, false);
  const auto exact = run(packed, {}, bench);
  double size = 0;
  for (const float v : exact.data) size += static_cast<double>(v) * static_cast<double>(v);
  size = std::sqrt(size / static_cast<double>(exact.data.size()));
  // An int8 block of 32 errs by max|x| / 127 / sqrt(12) = 0.6 % of rms (max of 32 normal values
  // is 2.1 rms, and those of an activation with outliers more); 7 linears a block, 2 blocks, added
  // in squares: 0.6 % x sqrt(14) = 2.3 %. Half to three times that.
  // Wider blocks err more: a whole row by the maximum of hundreds of values, twice that of 32;
  // where they are wider than groups of 32, the groups' scales are rounded too (two levels), by
  // less.
  for (const int64_t block : {int64_t{0}, int64_t{128}, int64_t{256}, LoadOptions::kWholeRow}) {
    const auto fast = run(packed, {.numerics = Numerics::int8, .activation_block = block}, bench);
    const double error = root_mean_square(exact.data, fast.data) / size;
    EXPECT_GT(error, 0.001) << block;
    EXPECT_LT(error, block == 0 ? 0.05 : 0.1) << block;
  }
}

format::Format made(int64_t bits, int64_t group, bool symmetric = true,
                    format::Granularity granularity = format::Granularity::group) {
  format::Format f;
  f.bits = bits;
  f.group = granularity == format::Granularity::group ? group : 0;
  f.granularity = granularity;
  f.symmetric = symmetric;
  return f;
}

INSTANTIATE_TEST_SUITE_P(
    Formats, EveryFormat,
    ::testing::Values(Case{"llama_gqa_untied", made(4, 32)},
                      Case{"llama_gqa_untied", made(4, 16, false)},
                      Case{"llama_gqa_untied", made(3, 16)},
                      Case{"llama_gqa_untied", made(2, 32, false)},
                      Case{"llama_gqa_untied", made(5, 24)}, Case{"llama_gqa_untied", made(6, 32)},
                      Case{"llama_gqa_untied", made(7, 32, false)},
                      Case{"llama_gqa_untied", made(8, 0, true, format::Granularity::row)},
                      Case{"llama_biases", made(4, 0, false, format::Granularity::row)},
                      Case{"llama_mha_tied", made(4, 0, true, format::Granularity::tensor)},
                      Case{"gpt2_tiny", made(4, 32)}, Case{"gpt2_tiny", made(8, 20, false)}),
    [](const auto& test) { return test.param.name(); });

TEST(Quantized, ScatteredGroupsAndInputScalesArePartOfTheWeight) {
  Bench bench;
  const auto dense = pack::open_model(fixture("models/llama_gqa_untied"), bench.context);
  const auto change = [](pack::DecoratedLinear& linear) {
    auto codes = linear.codes();
    const CounterRng rng(9, static_cast<uint32_t>(linear.in));
    codes.column_group.resize(static_cast<size_t>(linear.in));
    for (int64_t k = 0; k < linear.in; ++k)
      codes.column_group[static_cast<size_t>(k)] = static_cast<int32_t>(
          rng.u32(static_cast<uint64_t>(k)) % static_cast<uint32_t>(codes.groups()));
    linear.weight = std::move(codes);
    for (int64_t k = 0; k < linear.in; ++k)
      linear.input_scale.push_back(
          0.5f + static_cast<float>(rng.uniform(1000 + static_cast<uint64_t>(k))));
  };
  const auto real = run(std::make_shared<Quantized>(dense, made(4, 16), false, change), {}, bench);
  const auto simulated =
      run(std::make_shared<Quantized>(dense, made(4, 16), true, change), {}, bench);
  EXPECT_LE(max_difference(real.data, simulated.data), kTolerance);
  const auto plain = run(std::make_shared<Quantized>(dense, made(4, 16), false), {}, bench);
  EXPECT_GT(max_difference(real.data, plain.data), 0.1);  // the change was not ignored
}

TEST(Quantized, PackedFoldersRunAsTheirDequantizedWeights) {
  Bench bench;
  const std::string temp = ::testing::TempDir() + "/halftone_runtime_dense";
  for (const std::string name :
       {"ct_int4_sym_g16", "ct_int3_asym_channel", "ct_int8_w8a8", "ct_mixed",
        "gptq_v1_b4_asym_g16_act", "gptq_v2_b8_asym_g32_act"}) {
    const std::string folder = fixture("packed/" + name);
    bench.env->remove_tree(temp);
    bench.env->make_directories(temp);
    Json config = parse_json(bench.env->read_text(folder + "/config.json", 1 << 20), "config.json");
    config.erase("quantization_config");
    write_atomically(*bench.env, temp + "/config.json", config.dump());
    write_atomically(*bench.env, temp + "/model.safetensors",
                     bench.env->read_text(folder + ".dequantized.safetensors", 1 << 24));
    std::vector<int32_t> ids = some_ids(20);
    for (int32_t& id : ids) id %= 64;
    Session real(bench.load(folder), {}, bench.context), dense(bench.load(temp), {}, bench.context);
    EXPECT_LE(max_difference(all_logits(real, ids).data, all_logits(dense, ids).data), kTolerance)
        << name;
  }
  bench.env->remove_tree(temp);
}

// Tiles straight from the words of a file are those of the codes that a reader unpacks.
TEST(Quantized, StoredWordsGiveTheTilesOfTheirCodes) {
  Bench bench;
  int64_t straight = 0, linears = 0;
  for (const std::string& name : bench.env->list(fixture("packed"))) {
    const std::string folder = fixture("packed/" + name);
    if (!bench.env->stat(join_path(folder, "config.json"))) continue;
    const auto packed = pack::open_model(folder, bench.context);
    // What is wrapped has no words to show.
    const pack::testing::Wrapped codes(packed);
    for (const auto& ref : spec::linears(packed->checkpoint().spec)) {
      for (const auto& [numerics, block] :
           {std::pair(Numerics::exact, int64_t{0}), std::pair(Numerics::int8, int64_t{0}),
            std::pair(Numerics::int8, int64_t{128}), std::pair(Numerics::tables, int64_t{0})}) {
        const LoadOptions options{.numerics = numerics, .activation_block = block};
        const TiledLinear got = tile_linear(*packed, *ref.op, options, bench.context.pool),
                          wanted = tile_linear(codes, *ref.op, options, bench.context.pool);
        ASSERT_TRUE(std::ranges::equal(got.weights->tile_data(), wanted.weights->tile_data()))
            << name << " " << ref.op->name;
        EXPECT_EQ(got.preparation, wanted.preparation);
        EXPECT_EQ(got.bias, wanted.bias);
      }
      straight += packed->stored(*ref.op).has_value();
      ++linears;
    }
  }
  EXPECT_GT(straight, 0);
  EXPECT_LT(straight, linears);
}

TEST(Quantized, AHeadRoundedAtLoadIsTheNearestOneAndStandsForATiedEmbedding) {
  Bench bench;
  for (const char* name : {"llama_gqa_untied", "llama_mha_tied"}) {
    const auto dense = pack::open_model(fixture(std::string("models/") + name), bench.context);
    const auto& spec = dense->checkpoint().spec;
    const auto& head = spec.epilogue.ops.back();
    const Matrix<float> w = pack::effective_weight(dense->linear(head));
    for (const int64_t bits : {4, 8}) {
      const LoadOptions options{.head_bits = bits};
      const Matrix<float> nearest = format::quantize_nearest(w, made(bits, 32)).dequantize();
      const TiledLinear tiled = tile_linear(*dense, head, options, bench.context.pool);
      Matrix<float> got(w.rows, w.cols);
      for (int64_t n = 0; n < w.rows; ++n) tiled.weights->row(n, got.row(n));
      EXPECT_EQ(got, nearest) << name << " " << bits;
      const auto model = Model::load(dense, options, bench.context);
      const auto& table =
          *std::get<EmbedOp>(
               std::get<RowStep>(model->program().prologue.steps.front().what).ops.front().op)
               .table;
      const bool tied = std::get<spec::Embed>(spec.prologue.ops.front().params).table.name ==
                        std::get<spec::Linear>(head.params).weight.name;
      std::vector<float> row(static_cast<size_t>(w.cols));
      table.read(3, row);
      EXPECT_EQ(std::ranges::equal(row, nearest.row(3)), tied) << name << " " << bits;
    }
  }
  const auto dense = pack::open_model(fixture("models/llama_mha_tied"), bench.context);
  EXPECT_THROW(Model::load(dense, {.head_bits = 5}, bench.context), InputError);
}

std::vector<std::string> cache_files(Bench& bench, const std::string& folder) {
  std::vector<std::string> names;
  for (const std::string& name : bench.env->list(folder))
    if (name.ends_with(".safetensors")) names.push_back(join_path(folder, name));
  return names;
}

TEST(TileCache, TheNextLoadMapsWhatTheFirstOneTiled) {
  Bench bench;
  const std::string folder = ::testing::TempDir() + "/halftone_tiles";
  for (const char* name : {"packed/gptq_v1_b4_asym_g16_act", "packed/ct_int3_asym_channel",
                           "models/llama_biases", "models/gpt2_tiny"}) {
    bench.env->remove_tree(folder);
    const auto packed = pack::open_model(fixture(name), bench.context);
    std::vector<int32_t> ids = some_ids(20);
    for (int32_t& id : ids) id %= 64;
    size_t count = 0;
    for (const Numerics numerics : {Numerics::exact, Numerics::int8, Numerics::tables}) {
      LoadOptions options{.numerics = numerics};
      const auto logits = [&] {
        Session session(Model::load(packed, options, bench.context), {}, bench.context);
        return all_logits(session, ids);
      };
      const Matrix<float> plain = logits();
      options.tile_cache = folder;
      EXPECT_EQ(logits(), plain) << name;  // writes
      const auto times = [&] {
        std::vector<int64_t> all;
        for (const auto& file : cache_files(bench, folder))
          all.push_back(bench.env->stat(file)->modified_ns);
        return all;
      };
      const auto before = times();
      ASSERT_EQ(before.size(), ++count);   // each mode has a file of its own
      EXPECT_EQ(logits(), plain) << name;  // maps
      EXPECT_EQ(times(), before);
    }
  }
  // Other options have a file of their own.
  const auto packed = pack::open_model(fixture("models/llama_biases"), bench.context);
  const size_t before = cache_files(bench, folder).size();
  Model::load(packed, {.head_bits = 8, .tile_cache = folder}, bench.context);
  EXPECT_EQ(cache_files(bench, folder).size(), before + 1);
  bench.env->remove_tree(folder);
}

TEST(TileCache, WhatDoesNotFitTheModelIsWrittenAnewAndSaid) {
  Bench bench;
  std::string said;
  bench.context.log = [&](Level, std::string_view text) { said += std::string(text) + "\n"; };
  const std::string folder = ::testing::TempDir() + "/halftone_tiles2";
  bench.env->remove_tree(folder);
  const auto packed = pack::open_model(fixture("packed/ct_int4_sym_g16"), bench.context);
  std::vector<int32_t> ids = some_ids(20);
  for (int32_t& id : ids) id %= 64;
  const auto logits = [&](const std::string& cache) {
    said.clear();
    Session session(Model::load(packed, {.tile_cache = cache}, bench.context), {}, bench.context);
    return all_logits(session, ids);
  };
  const Matrix<float> plain = logits("");
  logits(folder);
  const std::string file = cache_files(bench, folder).at(0);
  const std::string good = bench.env->read_text(file, 1 << 26);
  const auto with = [&](std::string text) {
    write_atomically(*bench.env, file, text);
    EXPECT_EQ(logits(folder), plain);
    EXPECT_EQ(bench.env->read_text(file, 1 << 26), good);
  };
  const auto changed = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos);
    EXPECT_EQ(from.size(), to.size());
    return text.replace(at, to.size(), to);
  };
  with(changed("\\\"layout\\\":3", "\\\"layout\\\":9"));
  EXPECT_THAT(said, ::testing::HasSubstr("holds tiles of layout 9, this version's is 3"));
  with(changed("model.safetensors", "other.safetensors"));
  EXPECT_THAT(said, ::testing::HasSubstr("is older than the model"));
  with(good.substr(0, good.size() / 2));
  EXPECT_THAT(said, ::testing::HasSubstr("cannot be used and is written anew"));
  with("{}");
  EXPECT_THAT(said, ::testing::HasSubstr("cannot be used and is written anew"));
  with(good);
  EXPECT_EQ(said, "");
  // A folder that cannot be made costs the cache, not the run.
  EXPECT_EQ(logits(file + "/folder"), plain);
  EXPECT_THAT(said, ::testing::HasSubstr("was not written"));
  bench.env->remove_tree(folder);
}

// Tables are for 2 bits, whatever the groups; what else there is runs as in mode int8, bit by bit,
// and that is said.
TEST(Quantized, ModeTablesIsNearExactAndForTwoBitsOnly) {
  Bench bench;
  std::string said;
  bench.context.log = [&](Level, std::string_view text) { said += std::string(text) + "\n"; };
  const auto dense = pack::open_model(fixture("models/llama_gqa_untied"), bench.context);
  for (const auto& format : {made(2, 64), made(2, 64, false), made(2, 16, false),
                             made(2, 0, true, format::Granularity::row)}) {
    const auto packed = std::make_shared<Quantized>(dense, format, false);
    const auto exact = run(packed, {}, bench),
               int8 = run(packed, {.numerics = Numerics::int8}, bench);
    double size = 0;
    for (const float v : exact.data) size += static_cast<double>(v) * static_cast<double>(v);
    size = std::sqrt(size / static_cast<double>(exact.data.size()));
    said.clear();
    const auto tables = run(packed, {.numerics = Numerics::tables}, bench);
    EXPECT_EQ(said, "");
    EXPECT_NE(tables.data, int8.data);
    // Int8ActivationsStayNearTheExactOnes says where these come from; blocks are as wide here.
    const double error = root_mean_square(exact.data, tables.data) / size;
    EXPECT_GT(error, 0.001) << format.label();
    EXPECT_LT(error, 0.1) << format.label();
    // Beside int8 at the same blocks: 1.2 times for a product (TablesLoseLittleMoreThanInt8), which
    // a few layers may carry on as half or twice that.
    const auto wide = run(packed, {.numerics = Numerics::int8, .activation_block = 64}, bench);
    const double ratio = error / (root_mean_square(exact.data, wide.data) / size);
    EXPECT_GT(ratio, 0.6) << format.label();
    EXPECT_LT(ratio, 2.4) << format.label();
  }
  const auto four = std::make_shared<Quantized>(dense, made(4, 32), false);
  EXPECT_EQ(run(four, {.numerics = Numerics::tables}, bench).data,
            run(four, {.numerics = Numerics::int8}, bench).data);
  EXPECT_EQ(said,
            "mode tables: the model has no weights of 2 bits, all of it runs as in mode int8\n");
  said.clear();
  const auto model = Model::load(std::make_shared<Quantized>(dense, made(2, 64), false),
                                 {.numerics = Numerics::tables, .head_bits = 8}, bench.context);
  EXPECT_THAT(said, ::testing::HasSubstr("mode tables: 1 of 15 quantized linears are not of 2 "
                                         "bits and run as in mode int8"));
  EXPECT_THAT(model->label(), ::testing::HasSubstr("(runtime, tables, head 8 bits)"));
  EXPECT_THROW(
      Model::load(four, {.numerics = Numerics::tables, .activation_block = LoadOptions::kWholeRow},
                  bench.context),
      InputError);
  EXPECT_EQ(numerics_from("tables"), Numerics::tables);
  EXPECT_THROW(numerics_from("table"), InputError);
}

TEST(Quantized, EveryInstructionSetAndThreadCountGivesTheSameBits) {
  for (const Numerics numerics : {Numerics::exact, Numerics::int8, Numerics::tables}) {
    std::vector<Matrix<float>> results;
    for (const kernel::Isa isa : kernel::usable_isas()) {
      ::setenv("HALFTONE_ISA", std::string(kernel::isa_name(isa)).c_str(), 1);
      for (const int64_t threads : {1, 3}) {
        Bench bench(threads);
        const auto dense = pack::open_model(fixture("models/llama_gqa_untied"), bench.context);
        const auto packed = std::make_shared<Quantized>(
            dense, made(numerics == Numerics::tables ? 2 : 4, 32, false), false);
        EXPECT_EQ(Model::load(packed, {.numerics = numerics}, bench.context)->isa(),
                  kernel::isa_name(isa));
        results.push_back(run(packed, {.numerics = numerics}, bench));
      }
    }
    ::unsetenv("HALFTONE_ISA");
    for (const auto& r : results) EXPECT_EQ(r, results[0]);
  }
}

TEST(Quantized, PrefillEqualsDecodeToTheBitInEveryMode) {
  Bench bench;
  const auto dense = pack::open_model(fixture("models/mistral_window"), bench.context);
  for (const Numerics numerics : {Numerics::exact, Numerics::int8, Numerics::tables}) {
    const auto packed =
        std::make_shared<Quantized>(dense, made(numerics == Numerics::tables ? 2 : 4, 32), false);
    const auto model = Model::load(packed, {.numerics = numerics}, bench.context);
    const auto ids = some_ids(40);
    Session together(model, {}, bench.context), single(model, {}, bench.context);
    const auto prefill = all_logits(together, ids);
    for (size_t t = 0; t < ids.size(); ++t) {
      const auto row = single.feed(std::span(ids).subspan(t, 1));
      ASSERT_TRUE(std::ranges::equal(row, prefill.row(static_cast<int64_t>(t)))) << t;
    }
  }
}

}  // namespace
}  // namespace halftone::runtime
