#include "halftone/files/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <cstdlib>

#include "halftone/base/half.h"
#include "halftone/files/model_folder.h"
#include "halftone/files/safetensors.h"
#include "halftone/files/test_files.h"
#include "halftone/files/test_gguf.h"

namespace halftone::files {
namespace {
using namespace testing_files;

std::string fixture(const std::string& name) {
  return std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/gguf/" + name;
}
constexpr Code kAccepted = Code::internal;

class GgufFileTest : public testing::Test {
 protected:
  Code open(const std::string& bytes) {
    const std::string path = folder.write("m.gguf", bytes);
    return code_of([&] { gguf_tensors(open_gguf(path, folder.context)); });
  }
  Code open(const GgufBuilder& builder) { return open(builder.bytes()); }
  std::string line(const GgufBuilder& builder) {
    const std::string path = folder.write("m.gguf", builder.bytes());
    const std::string text = line_of([&] { open_gguf(path, folder.context); });
    const auto at = text.find("m.gguf: ");
    return text.substr(0, text.find(' ')) + " " +
           (at == std::string::npos ? text : text.substr(at + 8));
  }
  TempFolder folder;
};

TEST_F(GgufFileTest, BlockDecodersEqualThePackage) {
  const auto tensors = gguf_tensors(open_gguf(fixture("blocks.gguf"), folder.context));
  const auto want = open_safetensors(fixture("blocks.safetensors"), folder.context);
  ASSERT_EQ(tensors->tensors().size(), want->tensors().size());
  int decoded = 0;
  for (const TensorInfo& info : want->tensors()) {
    const HostTensor a = to_f32(tensors->read(info.name)), b = to_f32(want->read(info.name));
    ASSERT_EQ(a.shape(), b.shape()) << info.name;
    for (size_t i = 0; i < a.as<float>().size(); ++i)
      ASSERT_EQ(std::bit_cast<uint32_t>(a.as<float>()[i] + 0.0f),
                std::bit_cast<uint32_t>(b.as<float>()[i] + 0.0f))
          << info.name << " element " << i;  // + 0: a zero of either sign is the same value
    decoded += tensors->find(info.name)->stored_as != "f32";
  }
  for (const BlockType& type : block_types())
    if (type.readable()) {
      std::string upper(type.name);
      for (char& c : upper) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
      EXPECT_NE(want->find(upper), nullptr) << upper << " has no reference values";
    }
  EXPECT_GE(decoded, 24);
}

// The values of a block stand whole steps apart; of uneven levels (IQ4, E2M1) the step is the mean
// distance of the levels, so the whole range is so many of them.
TEST_F(GgufFileTest, BlocksHaveSteps) {
  const auto file = open_gguf(fixture("blocks.gguf"), folder.context);
  const auto values = gguf_tensors(file), steps = gguf_tensors(file, GgufRead::steps);
  int64_t whole = 0, uneven = 0;
  for (const TensorInfo& info : values->tensors()) {
    const BlockType& type = *block_type(info.stored_as);
    ASSERT_EQ(type.steps == nullptr, type.decode == nullptr) << type.name;
    if (type.steps == nullptr) continue;
    const HostTensor v = values->read(info.name), s = steps->read(info.name);
    const bool levels = type.name.starts_with("iq4") || type.name.ends_with("fp4");
    for (size_t i = 1; i < v.as<float>().size(); ++i) {
      const auto step = static_cast<double>(s.as<float>()[i]);
      ASSERT_GE(step, 0) << type.name;
      if (step == 0 || i % 16 == 0) continue;  // groups are of 16 or more
      const double a = static_cast<double>(v.as<float>()[i - 1]),
                   b = static_cast<double>(v.as<float>()[i]), apart = std::abs(b - a) / step;
      if (levels) {
        ASSERT_LE(apart, 16.001) << type.name;
        ++uneven;
      } else if (std::abs(a) < 1e3 * step && std::abs(b) < 1e3 * step) {  // else f32 is too coarse
        ASSERT_NEAR(apart, std::round(apart), 2e-3) << type.name;
        ++whole;
      }
    }
  }
  EXPECT_GT(whole, 1000);
  EXPECT_GT(uneven, 100);
}

TEST_F(GgufFileTest, RowsEqualTheWhole) {
  const auto tensors = gguf_tensors(open_gguf(fixture("blocks.gguf"), folder.context));
  for (const TensorInfo& info : tensors->tensors()) {
    const HostTensor whole = tensors->read(info.name), rows = tensors->read_rows(info.name, 1, 3);
    ASSERT_EQ(rows.shape()[0], 2);
    const auto part = whole.bytes().subspan(whole.bytes().size() / 3);
    EXPECT_TRUE(std::equal(part.begin(), part.end(), rows.bytes().begin(), rows.bytes().end()))
        << info.name;
  }
}

TEST_F(GgufFileTest, EveryValueTypeHasItsGetter) {
  const auto file = open_gguf(fixture("blocks.gguf"), folder.context);
  size_t seen = 0;
  for (const auto& [key, value] : file->metadata) {
    if (!key.starts_with("test.")) continue;
    ++seen;
    if (value.is_array && value.type == GgufType::string)
      EXPECT_EQ(file->strings(key).size(), value.count);
    else if (value.is_array && value.type == GgufType::f32)
      EXPECT_EQ(file->numbers(key).size(), value.count);
    else if (value.is_array && value.type != GgufType::f64)
      EXPECT_EQ(file->integers(key).size(), value.count);
    else if (value.type == GgufType::string)
      EXPECT_FALSE(file->text(key).empty());
    else if (value.type == GgufType::boolean)
      (void)file->boolean(key);
    else if (value.type == GgufType::f32 || value.type == GgufType::f64)
      EXPECT_TRUE(std::isfinite(file->number(key)));
    else
      (void)file->integer(key, INT64_MIN, INT64_MAX);
  }
  EXPECT_GE(seen, 12u);
}

TEST_F(GgufFileTest, LatticeTypesAreListedAndRefusedByName) {
  const auto file = open_gguf(fixture("refused.gguf"), folder.context);
  EXPECT_EQ(file->tensors.size(), 7u);
  const std::string text = line_of([&] { gguf_tensors(file); });
  EXPECT_THAT(text, testing::HasSubstr("has type iq"));
  EXPECT_THAT(text, testing::StartsWith("error[E_UNSUPPORTED]"));
}

TEST_F(GgufFileTest, ModelsOfThePackageOpen) {
  for (const char* name : {"llama_f32", "llama_f16", "gpt2_f32", "bert_f32", "llama_mixed32",
                           "llama_mixed256", "llama_head_dim"}) {
    const auto file = open_gguf(fixture(std::string(name) + ".gguf"), folder.context);
    EXPECT_GT(file->tensors.size(), 0u);
    EXPECT_EQ(file->strings("tokenizer.ggml.tokens").size(),
              file->find_tensor("token_embd.weight")->shape[0])
        << name;
  }
  const auto f32 = open_tensors(fixture("llama_f32.gguf"), folder.context);
  const auto hf = open_tensors(
      std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/llama_gqa_untied", folder.context);
  const HostTensor a = f32->read("blk.0.ffn_up.weight"),
                   b = hf->read("model.layers.0.mlp.up_proj.weight");
  EXPECT_TRUE(std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end()));
  const auto mapped = f32->mapped("blk.0.ffn_up.weight");
  EXPECT_TRUE(std::equal(a.bytes().begin(), a.bytes().end(), mapped.begin(), mapped.end()));
}

GgufBuilder good() {
  GgufBuilder b;
  b.key_text("general.architecture", "llama").tensor("a", {32, 2}).tensor("b", {32}, 2);
  return b;
}

TEST_F(GgufFileTest, AcceptsAWellFormedFile) {
  EXPECT_EQ(open(good()), kAccepted);
  auto v2 = good();
  v2.version = 2;
  EXPECT_EQ(open(v2), kAccepted);
  EXPECT_EQ(open(GgufBuilder{}), kAccepted);
  EXPECT_EQ(open(GgufBuilder{}.key_raw("b", 7, "\7")), kAccepted);
  folder.write("m.gguf", GgufBuilder{}.key_raw("b", 7, "\7").bytes());
  EXPECT_TRUE(open_gguf(folder.in("m.gguf"), folder.context)->boolean("b"));
  auto wide = good();
  wide.alignment = 64;
  EXPECT_EQ(open(wide.key_u32("general.alignment", 64)), kAccepted);
  EXPECT_EQ(open(good().tensor("n" + std::string(62, 'x'), {1})), kAccepted);
}

TEST_F(GgufFileTest, RefusesBadStarts) {
  EXPECT_EQ(open("GGUF"), Code::truncated);
  EXPECT_EQ(open(""), Code::truncated);
  EXPECT_EQ(open("GGUX" + good().bytes().substr(4)), Code::magic);
  EXPECT_EQ(open("<!doctype html><html></html>"), Code::magic);
  EXPECT_EQ(open("version https://git-lfs.github.com/spec/v1\n"), Code::magic);
  for (uint32_t version : {0u, 1u, 99u, 0x03000000u}) {
    auto b = good();
    b.version = version;
    EXPECT_EQ(open(b), Code::version) << version;
  }
  auto b = good();
  b.version = 0x03000000u;
  EXPECT_EQ(line(b), "error[E_VERSION] is a big-endian GGUF, which halftone does not read");
}

TEST_F(GgufFileTest, RefusesBadCounts) {
  for (int64_t extra : {int64_t{-2}, int64_t{1} << 32}) {
    auto b = good();
    b.extra_keys = extra;
    EXPECT_EQ(open(b), Code::limit) << extra;
    b = good();
    b.extra_tensors = extra - 1;
    EXPECT_EQ(open(b), Code::limit) << extra;
  }
  GgufBuilder b;
  b.key_u32("x", 1).extra_keys = 1;
  EXPECT_EQ(open(b), Code::truncated);
  GgufBuilder t;
  t.key_u32("x", 1).extra_tensors = 1;
  EXPECT_EQ(open(t), Code::truncated);
}

TEST_F(GgufFileTest, RefusesBadKeys) {
  const auto with = [&](const std::string& encoded) {
    GgufBuilder b;
    b.keys.push_back(encoded);
    return open(b);
  };
  const std::string u32_one = raw<uint32_t>(4) + raw<uint32_t>(1);
  EXPECT_EQ(with(raw<uint64_t>(~0ull) + "key" + u32_one), Code::truncated);
  EXPECT_EQ(with(raw<uint64_t>(1ull << 40) + "key" + u32_one), Code::truncated);
  EXPECT_EQ(with(raw<uint64_t>(4 + u32_one.size()) + "key" + u32_one), Code::truncated);
  EXPECT_EQ(with(gguf_string("") + u32_one), Code::value);
  EXPECT_EQ(with(gguf_string("\xff") + u32_one), Code::utf8);
  EXPECT_EQ(with(gguf_string(std::string(300, 'k')) + u32_one), Code::limit);
  EXPECT_EQ(open(GgufBuilder{}.key_u32("x", 1).key_u32("x", 1)), Code::duplicate);
  EXPECT_EQ(open(GgufBuilder{}.key_raw("x", 13, raw<uint64_t>(0))), Code::type);
  EXPECT_EQ(open(GgufBuilder{}.key_raw("x", ~0u, raw<uint64_t>(0))), Code::type);
  EXPECT_EQ(open(GgufBuilder{}.key_raw("x", 8, raw<uint64_t>(~0ull) + "s")), Code::truncated);
  EXPECT_EQ(open(GgufBuilder{}.key_raw("x", 8, raw<uint64_t>(1ull << 40) + "s")), Code::truncated);
  EXPECT_EQ(open(GgufBuilder{}.key_raw("x", 8, raw<uint64_t>(2) + "s")), Code::truncated);
  Limits small;
  small.string_bytes = 8;
  folder.context.limits = small;
  EXPECT_EQ(open(GgufBuilder{}.key_text("x", "123456789")), Code::limit);
}

TEST_F(GgufFileTest, RefusesBadArrays) {
  const auto nested = [](int depth) {
    std::string v;
    for (int i = 0; i < depth; ++i) v += raw<uint32_t>(9) + raw<uint64_t>(1);
    return v + raw<uint32_t>(4) + raw<uint64_t>(1) + raw<uint32_t>(0);
  };
  EXPECT_EQ(open(GgufBuilder{}.key_raw("x", 9, nested(1))), Code::type);
  EXPECT_EQ(open(GgufBuilder{}.key_raw("x", 9, nested(50000))), Code::type);
  EXPECT_EQ(open(GgufBuilder{}.key_array("x", 10, (1ull << 61) + 1, "")), Code::limit);
  EXPECT_EQ(open(GgufBuilder{}.key_array("x", 8, 1ull << 60, "")), Code::limit);
  EXPECT_EQ(open(GgufBuilder{}.key_array("x", 8, 1ull << 24, "")), Code::truncated);
  EXPECT_EQ(open(GgufBuilder{}.key_array("x", 4, 3, raw<uint64_t>(1))), Code::truncated);
  EXPECT_EQ(open(GgufBuilder{}.key_array("x", 13, 1, raw<uint64_t>(1))), Code::type);
}

TEST_F(GgufFileTest, RefusesBadAlignments) {
  for (uint32_t a : {0u, 13u, 4u, 8192u, 1u << 31})
    EXPECT_EQ(open(good().key_u32("general.alignment", a)), Code::value) << a;
  EXPECT_EQ(open(good().key_raw("general.alignment", 10, raw<uint64_t>(32))), Code::type);
  EXPECT_EQ(open(good().key_text("general.alignment", "32")), Code::type);
}

TEST_F(GgufFileTest, AnOverflowNamesTheFileAndTheTensor) {
  EXPECT_EQ(line(good().tensor("t", {1ull << 32, 1ull << 32})),
            "error[E_OVERFLOW] tensor \"t\": its number of elements overflows 64 bits");
  EXPECT_EQ(line(good().tensor("t", {1ull << 61})),
            "error[E_OVERFLOW] tensor \"t\": its size in bytes overflows 64 bits");
  EXPECT_EQ(line(good().tensor("t", {1}, 0, ~0ull - 31)),
            "error[E_OVERFLOW] tensor \"t\": the end of its range overflows 64 bits");
}

TEST_F(GgufFileTest, RefusesBadTensors) {
  EXPECT_EQ(open(good().tensor("t", {1, 1, 1, 1, 1})), Code::limit);
  const auto info = [&](const std::string& rest) {
    std::string bytes =
        "GGUF" + raw<uint32_t>(3) + raw<uint64_t>(1) + raw<uint64_t>(0) + gguf_string("t") + rest;
    return open(bytes + std::string(64, '\0'));
  };
  EXPECT_EQ(info(raw<uint32_t>(~0u)), Code::limit);
  EXPECT_EQ(open(good().tensor("t", {0})), Code::value);
  EXPECT_EQ(open(good().tensor("t", {~0ull})), Code::overflow);
  EXPECT_EQ(open(good().tensor("t", {1ull << 32, 1ull << 32})), Code::overflow);
  EXPECT_EQ(open(good().tensor("t", {1ull << 62, 2})), Code::overflow);
  EXPECT_EQ(open(good().tensor("t", {1ull << 61})), Code::overflow);            // bytes wrap
  EXPECT_EQ(open(good().tensor("t", {(1ull << 60) - 1}, 28)), Code::overflow);  // padding wraps
  auto sum = good();
  for (int i = 0; i < 40; ++i) sum.tensor("s" + std::to_string(i), {1ull << 58}, 24, 128);
  EXPECT_EQ(open(sum), Code::overflow);
  for (uint32_t type : {~0u, 255u, 4u, 5u, 31u, 33u, 36u, 38u, 43u})
    EXPECT_EQ(open(good().tensor("t", {32}, type)), Code::type) << type;
  EXPECT_EQ(open(good().tensor("t", {33}, 2)), Code::mismatch);
  EXPECT_EQ(open(good().tensor("t", {128, 2}, 12)),
            Code::mismatch);  // 256 elements, but not a row of them
  EXPECT_EQ(open(good().tensor("t", {1}, 0, 33)), Code::value);
  EXPECT_EQ(open(good().tensor("t", {1}, 0, 1 << 20)), Code::bounds);
  EXPECT_EQ(open(good().tensor("t", {1}, 0, ~0ull - 31)), Code::overflow);
  EXPECT_EQ(open(good().tensor("t", {1}, 0, 0)), Code::overlap);
  EXPECT_EQ(open(good().tensor("t", {1}, 0, 32)), Code::overlap);
  EXPECT_EQ(open(good().tensor("a", {1})), Code::duplicate);
  EXPECT_EQ(open(good().tensor(std::string(64, 'n'), {1})), Code::limit);
  EXPECT_EQ(open(good().tensor("", {1})), Code::value);
  EXPECT_EQ(open(good().tensor("t", {1 << 20, 100}, 0, 1 << 12)),
            Code::bounds);  // shape larger than the data
  EXPECT_EQ(open(good().tensor("t", {1 << 20, 100})),
            Code::truncated);  // the same in order: a cut file
  auto cut = good();
  cut.cut = 20;
  EXPECT_EQ(open(cut), Code::truncated);
  EXPECT_THAT(line(cut), testing::HasSubstr("download incomplete: has "));
  cut.cut = 200;
  EXPECT_EQ(open(cut), Code::truncated);
}

TEST_F(GgufFileTest, EveryPrefixIsRefused) {
  const std::string whole = good().bytes();
  for (size_t n = 0; n + 15 < whole.size();
       ++n) {  // the last block ends 14 bytes before its padding does
    const Code code = open(whole.substr(0, n));
    ASSERT_TRUE(code == Code::truncated) << n;
  }
}

GgufBuilder model() {
  GgufBuilder b;
  b.key_text("general.architecture", "llama");
  return b;
}

TEST_F(GgufFileTest, RefusesMetadataThatMakesNoModel) {
  for (uint32_t n : {0u, 513u, 1u << 31})
    EXPECT_EQ(open(model().key_u32("llama.block_count", n)), Code::value) << n;
  EXPECT_EQ(open(model().key_f32("llama.block_count", 2)), Code::type);
  EXPECT_EQ(open(model().key_u32("llama.attention.head_count", 0)), Code::value);
  EXPECT_EQ(
      open(model().key_u32("llama.embedding_length", 64).key_u32("llama.attention.head_count", 5)),
      Code::mismatch);
  EXPECT_EQ(open(model()
                     .key_u32("llama.embedding_length", 64)
                     .key_u32("llama.attention.head_count", 5)
                     .key_u32("llama.attention.key_length", 16)),
            kAccepted);
  EXPECT_EQ(open(model()
                     .key_u32("llama.attention.head_count", 8)
                     .key_u32("llama.attention.head_count_kv", 3)),
            Code::mismatch);
  EXPECT_EQ(open(model()
                     .key_u32("llama.attention.head_count", 8)
                     .key_u32("llama.attention.head_count_kv", 16)),
            Code::mismatch);
  EXPECT_EQ(open(model().key_u32("llama.attention.head_count_kv", 0)), Code::value);
  EXPECT_EQ(open(GgufBuilder{}.key_u32("general.architecture", 1)), Code::type);
  const std::string t = "tokenizer.ggml.";
  const auto tokens = [&] { return GgufBuilder{}.key_texts(t + "tokens", {"a", "b", "c"}); };
  EXPECT_EQ(open(tokens()
                     .key_array(t + "scores", 6, 3, std::string(12, '\0'))
                     .key_array(t + "token_type", 5, 3, std::string(12, '\0'))
                     .key_u32(t + "bos_token_id", 2)),
            kAccepted);
  EXPECT_EQ(open(tokens().key_array(t + "scores", 6, 2, std::string(8, '\0'))), Code::mismatch);
  EXPECT_EQ(open(tokens().key_array(t + "token_type", 5, 4, std::string(16, '\0'))),
            Code::mismatch);
  EXPECT_EQ(open(tokens().key_array(t + "scores", 5, 3, std::string(12, '\0'))), Code::type);
  EXPECT_EQ(open(GgufBuilder{}.key_array(t + "tokens", 4, 1, raw<uint32_t>(1))), Code::type);
  EXPECT_EQ(open(tokens().key_array(t + "merges", 4, 1, raw<uint32_t>(1))), Code::type);
  EXPECT_EQ(open(tokens().key_u32(t + "eos_token_id", 3)), Code::value);
  EXPECT_EQ(open(tokens().key_i32(t + "eos_token_id", -1)), Code::value);
  EXPECT_EQ(open(GgufBuilder{}.key_u32("tokenizer.chat_template", 3)), Code::type);
  EXPECT_EQ(open(GgufBuilder{}.key_text("tokenizer.chat_template", "\xff")), Code::utf8);
}

TEST_F(GgufFileTest, GettersNameTheKeyAndTheReason) {
  const std::string path = folder.write(
      "m.gguf", model().key_u32("llama.x", 7).key_f32("llama.y", std::nanf("")).bytes());
  const auto file = open_gguf(path, folder.context);
  EXPECT_EQ(file->integer("llama.x", 0, 7), 7);
  EXPECT_EQ(file->integer("llama.none", 0, 7, 3), 3);
  EXPECT_EQ(line_of([&] { file->integer("llama.x", 0, 6); }),
            "error[E_VALUE] " + path + ": llama.x is 7, wanted 0 to 6");
  EXPECT_EQ(line_of([&] { file->text("llama.x"); }),
            "error[E_TYPE] " + path + ": llama.x is a u32, wanted text");
  EXPECT_EQ(line_of([&] { file->number("llama.none"); }),
            "error[E_MISSING] " + path + ": has no key llama.none");
  EXPECT_EQ(code_of([&] { file->number("llama.y"); }), Code::value);
  EXPECT_TRUE(file->strings("llama.none").empty());
}

TEST_F(GgufFileTest, SplitsAreReadAsOneModel) {
  const auto part = [&](uint16_t number, const std::string& tensor, int32_t total = 2) {
    GgufBuilder b;
    b.key_raw("split.no", 2, raw(number))
        .key_raw("split.count", 2, raw<uint16_t>(2))
        .key_i32("split.tensors.count", total);
    if (number == 0) b.key_text("general.architecture", "llama");
    return b.tensor(tensor, {4}).bytes();
  };
  const std::string first = folder.write("m-00001-of-00002.gguf", part(0, "a"));
  EXPECT_EQ(code_of([&] { open_gguf(first, folder.context); }), Code::missing);
  const std::string second = folder.write("m-00002-of-00002.gguf", part(1, "b"));
  for (const std::string& path : {first, second, folder.path()}) {
    const auto tensors = open_tensors(path, folder.context);
    ASSERT_EQ(tensors->tensors().size(), 2u);
    EXPECT_EQ(tensors->find("b")->file, second);
    EXPECT_EQ(tensors->read("b").shape(), Shape{4});
  }
  EXPECT_EQ(open_gguf(second, folder.context)->text("general.architecture"), "llama");
  folder.write("m-00002-of-00002.gguf", part(1, "a"));
  EXPECT_EQ(code_of([&] { open_gguf(first, folder.context); }), Code::duplicate);
  folder.write("m-00002-of-00002.gguf", part(0, "b"));
  EXPECT_EQ(code_of([&] { open_gguf(first, folder.context); }), Code::mismatch);
  folder.write("m-00002-of-00002.gguf", part(1, "b", 3));
  folder.write("m-00001-of-00002.gguf", part(0, "a", 3));
  EXPECT_EQ(code_of([&] { open_gguf(first, folder.context); }), Code::mismatch);
  const std::string renamed = folder.write("other.gguf", part(1, "b"));
  EXPECT_EQ(code_of([&] { open_gguf(renamed, folder.context); }), Code::mismatch);
}

TEST_F(GgufFileTest, ALargeVocabularyOpensQuickly) {
  // Wide bound: 40 ms measured in a debug-free build; what it guards against is a quadratic reader.
  std::vector<std::string> tokens;
  for (int i = 0; i < 256'000; ++i) tokens.push_back("token" + std::to_string(i));
  const std::string path =
      folder.write("m.gguf", GgufBuilder{}.key_texts("tokenizer.ggml.tokens", tokens).bytes());
  const auto start = std::chrono::steady_clock::now();
  const auto file = open_gguf(path, folder.context);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(file->strings("tokenizer.ggml.tokens")[255'999], "token255999");
  EXPECT_LT(took.count(), 2.0);
  RecordProperty("open_ms", static_cast<int>(took.count() * 1000));
}

TEST(GgufModel, SmolLm2DequantizesQuickly) {
  // Where ./setup puts the default model (spec/model_names.cc).
  const char *cache = std::getenv("HALFTONE_CACHE"), *xdg = std::getenv("XDG_CACHE_HOME"),
             *home = std::getenv("HOME");
  const std::string root = cache ? cache
                           : xdg ? join_path(xdg, "halftone")
                                 : join_path(home ? home : "", ".cache/halftone");
  const std::string path = join_path(root, "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf");
  TempFolder folder;
  if (!folder.env().stat(path))
    GTEST_SKIP() << "SmolLM2's GGUF is not at " << path << " (./setup fetches it)";
  const auto file = open_gguf(path, folder.context);
  const auto tensors = gguf_tensors(file);
  const auto start = std::chrono::steady_clock::now();
  int64_t parameters = 0;
  double sum = 0;
  for (const TensorInfo& info : tensors->tensors()) {
    const HostTensor w = tensors->read(info.name);
    parameters += w.count();
    sum += w.as<float>()[0];
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_EQ(parameters, 134'515'008);
  EXPECT_TRUE(std::isfinite(sum));
  std::cout << "dequantized " << parameters << " parameters in " << took.count() << " s\n";
  RecordProperty("dequantize_ms", static_cast<int>(took.count() * 1000));
}

}  // namespace
}  // namespace halftone::files
