#include "halftone/pack/writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "halftone/base/half.h"
#include "halftone/base/rng.h"
#include "halftone/files/safetensors.h"
#include "halftone/files/test_files.h"
#include "halftone/pack/folder.h"
#include "halftone/pack/read_linear.h"
#include "halftone/spec/family.h"

namespace halftone::pack {
namespace {

using files::testing_files::line_of;
using files::testing_files::TempFolder;
using format::Codes;
using format::Format;
using format::Granularity;
using testing::ElementsAre;
using testing::HasSubstr;

// Codes, scales and zeros that no rule made: a layout has to carry whatever there is.
DecoratedLinear random_linear(const Format& f, int64_t n, int64_t k, bool scattered = false) {
  Codes c{.format = f,
          .rows = n,
          .cols = k,
          .codes = {},
          .scales = {},
          .zeros = {},
          .column_group = {}};
  const CounterRng rng(static_cast<uint64_t>(f.bits * 1000 + n), static_cast<uint32_t>(k));
  const uint32_t top = 1u << f.bits;
  for (int64_t i = 0; i < n * k; ++i)
    c.codes.push_back(static_cast<uint8_t>(rng.u32(static_cast<uint64_t>(i)) % top));
  const int64_t grids = f.granularity == Granularity::tensor ? 1 : n * c.groups();
  for (int64_t i = 0; i < grids; ++i) {
    const auto j = static_cast<uint64_t>(1'000'000 + i);
    const float scale = 0.01f + static_cast<float>(rng.uniform(j));
    c.scales.push_back(f.scale_dtype == DType::f16 ? f16_to_f32(f32_to_f16(scale)) : scale);
    if (!f.symmetric) c.zeros.push_back(static_cast<uint8_t>(rng.u32(j) % top));
  }
  if (scattered)
    for (int64_t i = 0; i < k; ++i)
      c.column_group.push_back(static_cast<int32_t>((i * 7 + 3) % c.groups()));
  return {.name = "m.l", .out = n, .in = k, .input_scale = {}, .weight = std::move(c), .bias = {}};
}

// One block of one linear called m.l.
spec::ModelSpec one_linear(int64_t n, int64_t k, bool transposed = false) {
  spec::ModelSpec spec;
  spec.blocks.push_back(
      {.name = "m",
       .ops = {{.name = "m.l",
                .in = {{}},
                .out = 1,
                .params = spec::Linear{
                    .weight = {"m.l.weight", transposed ? Shape{k, n} : Shape{n, k}, transposed},
                    .bias = {},
                    .in = k,
                    .out = n,
                    .role = spec::Role::other}}}});
  return spec;
}

format::Plan plan_of(const Format& f) {
  format::Plan plan;
  plan.ports[{"m.l", format::Port::weight}] = f;
  return plan;
}

// What `stored` shows in the file must be what `read` takes out of it.
void expect_same(const StoredLinear& stored, const DecoratedLinear& read) {
  const Codes& c = read.codes();
  ASSERT_EQ(stored.rows, c.rows);
  ASSERT_EQ(stored.cols, c.cols);
  EXPECT_EQ(stored.format, c.format);
  EXPECT_TRUE(c.column_group.empty());
  const int64_t bits = c.format.bits, per_word = 32 / bits;
  for (int64_t n = 0; n < c.rows; ++n) {
    for (int64_t k = 0; k < c.cols; ++k) {
      const int64_t at = stored.down
                             ? k / per_word * stored.stride + 4 * n + k % per_word * bits / 8
                             : n * stored.stride + k * bits / 8;
      const auto byte = static_cast<int>(stored.words[static_cast<size_t>(at)]);
      const int code = (byte >> (k * bits % 8)) & ((1 << bits) - 1);
      ASSERT_EQ(stored.signed_bytes ? code ^ 128 : code,
                c.codes[static_cast<size_t>(n * c.cols + k)])
          << n << " " << k;
    }
    for (int64_t g = 0; g < c.groups(); ++g) {
      uint16_t half = 0;
      std::memcpy(&half, stored.scales.data() + 2 * (n * stored.scale_row + g * stored.scale_group),
                  2);
      ASSERT_EQ(f16_to_f32(half), c.scale(n, g));
      if (!stored.zeros.empty()) {
        ASSERT_EQ(stored.zeros[static_cast<size_t>(n * c.groups() + g)], c.zero(n, g));
      }
    }
  }
  EXPECT_EQ(stored.zeros.empty(), c.zeros.empty());
  EXPECT_EQ(stored.input_scale, read.input_scale);
  EXPECT_EQ(stored.bias, read.bias);
}

class Writer : public testing::Test {
 protected:
  DecoratedLinear write_and_read(const DecoratedLinear& linear, Layout layout, int64_t version) {
    const auto tensors = tensors_of(linear, layout, version);
    std::vector<std::pair<std::string, const HostTensor*>> views;
    for (const auto& [name, tensor] : tensors) views.emplace_back(name, &tensor);
    files::write_safetensors(folder.env(), folder.in("t.safetensors"), views);
    const auto file = files::open_safetensors(folder.in("t.safetensors"), folder.context);
    const spec::ModelSpec spec = one_linear(linear.out, linear.in);
    const std::set<std::string> scattered = linear.codes().column_group.empty()
                                                ? std::set<std::string>{}
                                                : std::set<std::string>{"m.l"};
    const QuantizationConfig config(
        quantization_config(plan_of(linear.codes().format), spec, layout, version, scattered),
        "config.json");
    const auto& op = std::get<spec::Linear>(spec.blocks[0].ops[0].params);
    const std::string module = "m.l";
    const auto scheme = config.scheme(module, op);
    EXPECT_TRUE(scheme.has_value());
    const LinearFile at{*file, config, module, op, *scheme};
    const bool gptq = layout == Layout::gptq;
    DecoratedLinear read = gptq ? read_gptq(at, config.gptq_version()) : read_compressed(at);
    const auto stored = gptq ? stored_gptq(at, config.gptq_version()) : stored_compressed(at);
    const Format& f = read.codes().format;
    EXPECT_EQ(stored.has_value(), f.scale_dtype == DType::f16 &&
                                      read.codes().column_group.empty() &&
                                      (f.bits == 2 || f.bits == 4 || f.bits == 8))
        << f.label();
    if (stored) expect_same(*stored, read);
    return read;
  }
  void expect_round_trip(const Format& f, int64_t n, int64_t k, Layout layout, int64_t version = 2,
                         bool scattered = false) {
    const DecoratedLinear linear = random_linear(f, n, k, scattered);
    const DecoratedLinear back = write_and_read(linear, layout, version);
    EXPECT_EQ(back.codes().codes, linear.codes().codes) << f.label();
    EXPECT_EQ(back.codes().scales, linear.codes().scales) << f.label();
    EXPECT_EQ(back.codes().zeros, linear.codes().zeros) << f.label();
    EXPECT_EQ(back.codes().column_group, linear.codes().column_group) << f.label();
  }
  std::string refusal(const Format& f, int64_t n, int64_t k, Layout layout, int64_t version = 2,
                      bool transposed = false) {
    return line_of(
        [&] { check_layout(plan_of(f), one_linear(n, k, transposed), layout, version); });
  }
  TempFolder folder;
};

TEST_F(Writer, EveryKindComesBackFromOurLayout) {
  for (const auto& [name, kind] : format::entries())
    for (int64_t bits = 2; bits <= 8; ++bits) {
      const Format f{.kind = name, .bits = bits, .group = 32, .grid = kind.grids.at(0)};
      if (kind.clash(f).empty() && kind.type == "int")
        expect_round_trip(f, 13, 64, Layout::halftone);
    }
}

TEST_F(Writer, EveryFormatComesBackFromOurLayout) {
  for (int64_t bits = 2; bits <= 8; ++bits)
    for (const bool symmetric : {true, false})
      for (const Granularity g : {Granularity::tensor, Granularity::row, Granularity::group})
        for (const int64_t k :
             {64, 40}) {  // 40: a short last group of 8, and a row that ends inside a word
          const Format f{.bits = bits,
                         .granularity = g,
                         .group = g == Granularity::group ? 32 : 0,
                         .symmetric = symmetric};
          expect_round_trip(f, 13, k, Layout::halftone);
          if (k == 64) expect_round_trip(f, 13, k, Layout::compressed_tensors);
        }
  expect_round_trip({.bits = 4, .group = 16, .scale_dtype = DType::f32}, 8, 64, Layout::halftone);
  expect_round_trip({.bits = 4, .group = 16}, 8, 64, Layout::halftone, 2, true);
}

TEST_F(Writer, GptqTensorsComeBackInBothVersions) {
  for (const int64_t bits : {2, 3, 4, 8})
    for (const int64_t version : {1, 2})
      for (const bool symmetric : {true, false}) {
        if (version == 1 && !symmetric) continue;
        expect_round_trip({.bits = bits, .group = 32, .symmetric = symmetric}, 64, 96, Layout::gptq,
                          version);
        expect_round_trip(
            {.bits = bits, .granularity = Granularity::row, .group = 0, .symmetric = symmetric}, 32,
            96, Layout::gptq, version);
      }
  expect_round_trip({.bits = 4, .group = 32}, 16, 96, Layout::gptq, 1, true);
}

// Words by hand: docs of compressed-tensors and GPTQ say low bits first.
TEST_F(Writer, WordsAreThoseOfTheLayoutsPapers) {
  DecoratedLinear linear = random_linear({.bits = 4, .group = 8}, 8, 8);
  Codes& c = std::get<Codes>(linear.weight);
  for (size_t i = 0; i < 64; ++i) c.codes[i] = static_cast<uint8_t>((i / 8 + i % 8) % 16);
  std::map<std::string, HostTensor> t;
  for (auto& [name, tensor] : tensors_of(linear, Layout::compressed_tensors))
    t[name] = std::move(tensor);
  EXPECT_EQ(t.at("m.l.weight_packed").shape(), (Shape{8, 1}));
  EXPECT_EQ(t.at("m.l.weight_packed").as<uint32_t>()[0], 0x76543210u);  // row 0 holds 0 1 2 ... 7
  EXPECT_EQ(t.at("m.l.weight_packed").as<uint32_t>()[1], 0x87654321u);
  EXPECT_EQ(t.at("m.l.weight_scale").shape(), (Shape{8, 1}));
  EXPECT_EQ(t.at("m.l.weight_scale").dtype(), DType::f16);
  EXPECT_THAT(t.at("m.l.weight_shape").as<int64_t>(), ElementsAre(8, 8));
  EXPECT_EQ(t.size(), 3u);
  t.clear();
  for (auto& [name, tensor] : tensors_of(linear, Layout::gptq, 1)) t[name] = std::move(tensor);
  EXPECT_EQ(t.at("m.l.qweight").shape(), (Shape{1, 8}));
  EXPECT_EQ(t.at("m.l.qweight").as<uint32_t>()[0], 0x76543210u);  // column 0 of W^T: codes of row 0
  EXPECT_EQ(t.at("m.l.qzeros").as<uint32_t>()[0], 0x77777777u);
  EXPECT_THAT(t.at("m.l.g_idx").as<int32_t>(), testing::Each(0));
  for (auto& [name, tensor] : tensors_of(linear, Layout::gptq, 2)) t[name] = std::move(tensor);
  EXPECT_EQ(t.at("m.l.qzeros").as<uint32_t>()[0], 0x88888888u);
}

TEST_F(Writer, WhatALayoutCannotHoldIsRefusedWithTheRemedy) {
  const Format g128{.bits = 4, .group = 128}, g64{.bits = 4, .group = 64};
  EXPECT_EQ(refusal(g128, 576, 576, Layout::compressed_tensors),
            "error[E_UNSUPPORTED] linear m.l: compressed-tensors cannot hold group 128 on K = 576; "
            "use group 64 or 32, or keep the halftone layout");
  EXPECT_EQ(refusal(g128, 576, 576, Layout::gptq),
            "error[E_UNSUPPORTED] linear m.l: the GPTQ layout cannot hold group 128 on K = 576; "
            "use group 64 or 32, or keep the halftone layout");
  EXPECT_EQ(refusal({.bits = 3, .group = 32}, 40, 64, Layout::gptq),
            "error[E_UNSUPPORTED] linear m.l: the GPTQ layout needs both sides of a 3-bit weight "
            "to be multiples of 32, this one is 40 x 64; "
            "keep it dense, or keep the halftone layout");
  EXPECT_THAT(refusal({.bits = 6, .group = 64}, 64, 64, Layout::gptq),
              HasSubstr("cannot hold 6 bits; use 2, 3, 4 or 8"));
  EXPECT_THAT(
      refusal({.bits = 4, .granularity = Granularity::tensor, .group = 0}, 64, 64, Layout::gptq),
      HasSubstr("has no scale per tensor"));
  EXPECT_THAT(refusal({.bits = 4, .group = 64, .scale_dtype = DType::f32}, 64, 64, Layout::gptq),
              HasSubstr("set scale_dtype: f16"));
  EXPECT_THAT(refusal({.bits = 4, .group = 64, .symmetric = false}, 64, 64, Layout::gptq, 1),
              HasSubstr("use layout gptq_v2"));
  EXPECT_THAT(refusal(g64, 64, 64, Layout::compressed_tensors, 2, true),
              HasSubstr("cannot hold a Conv1D weight"));
  for (const Layout layout : {Layout::halftone, Layout::compressed_tensors, Layout::gptq})
    EXPECT_EQ(refusal(g64, 64, 64, layout), "no error");
  EXPECT_EQ(refusal(g128, 576, 576, Layout::halftone), "no error");
  EXPECT_EQ(compressed_tensors_clash(plan_of(g64), one_linear(64, 64)), "");
  EXPECT_EQ(compressed_tensors_clash(plan_of(g128), one_linear(64, 96)),
            "m.l: compressed-tensors cannot hold group 128 on K = 96; use group 32, or keep the "
            "halftone layout");
  EXPECT_THAT(
      line_of([&] { tensors_of(random_linear(g64, 8, 128, true), Layout::compressed_tensors); }),
      HasSubstr(
          "holds no columns out of the order of their groups; round with static_groups: true"));
  for (const Layout layout : {Layout::halftone, Layout::compressed_tensors, Layout::gptq})
    EXPECT_THAT(refusal({.kind = "nf4", .bits = 4, .group = 64}, 64, 64, layout),
                HasSubstr("unknown format kind \"nf4\""));
  // The same when the tensors are asked for.
  EXPECT_THAT(line_of([&] { tensors_of(random_linear(g128, 8, 96), Layout::gptq); }),
              HasSubstr("linear m.l: the GPTQ layout cannot hold"));
}

TEST_F(Writer, ConfigNamesTheCommonFormatByClassAndTheRestByModule) {
  const Json json =
      parse_json(folder.env().read_text(std::string(HALFTONE_SOURCE_DIR) +
                                            "/tests/fixtures/models/llama_gqa_untied/config.json",
                                        1 << 20),
                 "c");
  const spec::ModelSpec spec = spec::family_for(json, "c").entry.assemble(json, "c");
  format::Plan plan;
  for (const auto& ref : spec::linears(spec))
    if (ref.linear().role != spec::Role::head)
      plan.ports[{ref.op->name, format::Port::weight}] = {.bits = 4, .group = 16};
  plan.ports[{"model.layers.1.mlp.down_proj", format::Port::weight}] = {
      .bits = 8, .granularity = Granularity::row, .group = 0};
  plan.ports.erase({"model.layers.0.self_attn.o_proj", format::Port::weight});

  const Json ct = quantization_config(plan, spec, Layout::compressed_tensors);
  EXPECT_EQ(ct["config_groups"]["group_0"]["targets"].dump(), "[\"Linear\"]");
  EXPECT_EQ(ct["config_groups"]["group_0"]["weights"]["num_bits"], 4);
  EXPECT_EQ(ct["config_groups"]["group_1"]["targets"].dump(), "[\"model.layers.1.mlp.down_proj\"]");
  EXPECT_EQ(ct["config_groups"]["group_1"]["weights"]["strategy"], "channel");
  EXPECT_EQ(ct["ignore"].dump(), "[\"model.layers.0.self_attn.o_proj\",\"lm_head\"]");
  const Json gptq = quantization_config(plan, spec, Layout::gptq, 1);
  EXPECT_EQ(
      gptq["dynamic"].dump(),
      R"({"+:model\\.layers\\.1\\.mlp\\.down_proj$":{"bits":8,"group_size":-1,"sym":true,"desc_act":false},)"
      R"("-:model\\.layers\\.0\\.self_attn\\.o_proj$":{}})");
  EXPECT_EQ(gptq["checkpoint_format"], "gptq");
  // Read by our reader, each linear has its format again.
  for (const Json& config : {ct, gptq, quantization_config(plan, spec, Layout::halftone)}) {
    const QuantizationConfig read(config, "config.json");
    for (const auto& ref : spec::linears(spec)) {
      const auto scheme = read.scheme(ref.op->name, ref.linear());
      const Format* wanted = plan.find(ref.op->name, format::Port::weight);
      ASSERT_EQ(scheme.has_value(), wanted != nullptr) << ref.op->name;
      if (wanted) {
        EXPECT_EQ(scheme->weights.label(), wanted->label()) << ref.op->name;
      }
    }
  }
}

FolderContents three_tensors() {
  FolderContents contents;
  for (const char* name : {"c", "a", "b"}) {
    contents.tensors.push_back({name, DType::f32, {4, 2}, [name](const auto& sink) {
                                  std::vector<float> values(8, static_cast<float>(name[0]));
                                  const auto bytes = std::as_bytes(std::span(values));
                                  sink(bytes.first(12));  // in pieces
                                  sink(bytes.subspan(12));
                                }});
  }
  contents.texts = {{"config.json", "{}\n"}};
  return contents;
}

TEST_F(Writer, FolderIsSplitIntoShardsWithAnIndex) {
  const auto one = write_folder(folder.in("one"), three_tensors(), folder.context);
  EXPECT_EQ(one.shards, 1);
  EXPECT_EQ(one.tensor_bytes, 96u);
  EXPECT_THAT(folder.env().list(folder.in("one")), ElementsAre("config.json", "model.safetensors"));
  FolderContents contents = three_tensors();
  contents.copies = {{"tokenizer.json", folder.write("t.json", "{\"t\": 1}")}};
  const auto two = write_folder(folder.in("two"), contents, folder.context, 64);
  EXPECT_EQ(two.shards, 2);
  EXPECT_THAT(folder.env().list(folder.in("two")),
              ElementsAre("config.json", "model-00001-of-00002.safetensors",
                          "model-00002-of-00002.safetensors", "model.safetensors.index.json",
                          "tokenizer.json"));
  EXPECT_EQ(
      parse_json(folder.read("two/model.safetensors.index.json"), "i").dump(),
      R"({"metadata":{"total_size":96},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors",)"
      R"("c":"model-00001-of-00002.safetensors"}})");
  const auto source =
      files::open_safetensors_index(folder.in("two/model.safetensors.index.json"), folder.context);
  for (const char* name : {"a", "b", "c"})
    EXPECT_THAT(source->read(name).as<float>(), testing::Each(static_cast<float>(name[0])));
  // The same contents give the same hash; a shard too small for one tensor still holds it.
  EXPECT_EQ(write_folder(folder.in("two"), contents, folder.context, 64).hash, two.hash);
  EXPECT_EQ(write_folder(folder.in("many"), three_tensors(), folder.context, 8).shards, 3);
}

TEST_F(Writer, AFolderThatReadsBackOtherwiseIsRefused) {
  for (const char* name : {"model.safetensors", "config.json"}) {
    // Between writing and reading back, one byte changes on the disk.
    const auto bad_disk =
        fault_env(folder.env(), [&](std::string_view operation, const std::string& path) {
          if (operation == "sync_directory") {
            std::string bytes = folder.env().read_text(join_path(path, name), 1 << 20);
            bytes[bytes.size() - 2] ^= 1;
            const auto file = folder.env().create(join_path(path, name));
            file->write(bytes);
            file->close();
          }
          return 0;
        });
    Context context = folder.context;
    context.env = bad_disk.get();
    const std::string line =
        line_of([&] { write_folder(folder.in("bad"), three_tensors(), context); });
    EXPECT_THAT(line, HasSubstr("error[E_MISMATCH]"));
    EXPECT_THAT(line, HasSubstr("was read back other than written; check the disk and run again"));
  }
}

}  // namespace
}  // namespace halftone::pack
