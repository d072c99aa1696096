#include "halftone/files/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "halftone/base/half.h"
#include "halftone/base/hash.h"
#include "halftone/files/model_folder.h"
#include "halftone/files/test_files.h"

namespace halftone::files {
namespace {
using namespace testing_files;

std::string fixture(const std::string& name) {
  return std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/" + name;
}

std::string with_header(const std::string& header, size_t data_bytes) {
  return raw<uint64_t>(header.size()) + header + std::string(data_bytes, 'x');
}

Code parse(const std::string& bytes, const Limits& limits = {}) {
  return code_of([&] {
    parse_safetensors_header(std::as_bytes(std::span(bytes)), bytes.size(), "f.safetensors",
                             limits);
  });
}
Code parse_json_part(const std::string& header, size_t data_bytes = 0) {
  return parse(with_header(header, data_bytes));
}
constexpr Code kAccepted = Code::internal;

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "{" + entry("a", dtype, shape, offsets) + "}";
}

TEST(Safetensors, RefusesBadLengths) {
  EXPECT_EQ(parse(""), Code::truncated);
  EXPECT_EQ(parse("1234567"), Code::truncated);
  EXPECT_EQ(parse(raw<uint64_t>(2)), Code::truncated);
  EXPECT_EQ(parse(raw<uint64_t>(0) + "{}"), Code::truncated);
  EXPECT_EQ(parse(raw<uint64_t>(3) + "{}"), Code::truncated);
  EXPECT_EQ(parse(raw<uint64_t>((1ull << 63) - 4) + "{}"), Code::limit);
  EXPECT_EQ(parse(raw<uint64_t>(~0ull) + "{}"), Code::limit);
  EXPECT_EQ(parse(raw<uint64_t>(100'000'001) + "{}"), Code::limit);
  EXPECT_EQ(parse(raw<uint64_t>(100'000'000) + "{}"), Code::truncated);
}

TEST(Safetensors, RefusesBadHeaders) {
  EXPECT_EQ(parse_json_part(" {}"), Code::json);
  EXPECT_EQ(parse_json_part("\xEF\xBB\xBF{}"), Code::json);
  EXPECT_EQ(parse_json_part("{} {}"), Code::json);
  EXPECT_EQ(parse_json_part("[]"), Code::json);
  EXPECT_EQ(parse_json_part("{\"a\":"), Code::json);
  EXPECT_EQ(parse_json_part("{\"\xff\":1}"), Code::utf8);
  EXPECT_EQ(parse_json_part("{\"a\":" + std::string(100000, '[')), Code::depth);
  EXPECT_EQ(
      parse_json_part(
          "{" + entry("a", "U8", "[1]", "[0,1]") + "," + entry("a", "U8", "[1]", "[1,2]") + "}", 2),
      Code::duplicate);
  EXPECT_EQ(parse_json_part("{\"a\":1}"), Code::type);
  EXPECT_EQ(parse_json_part("{\"a\":{\"dtype\":\"U8\",\"shape\":[0]}}"), Code::missing);
  EXPECT_EQ(parse_json_part("{\"__metadata__\":{\"a\":1}}"), Code::type);
  EXPECT_EQ(parse_json_part("{\"__metadata__\":[]}"), Code::type);
  EXPECT_EQ(parse_json_part("{\"" + std::string(300, 'n') +
                                "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                            1),
            Code::limit);
}

TEST(Safetensors, RefusesBadEntries) {
  EXPECT_EQ(parse_json_part(one("F32", "[1]", "[4,0]"), 4), Code::bounds);
  EXPECT_EQ(parse_json_part(one("F32", "[1]", "[-4,0]"), 4), Code::value);
  EXPECT_EQ(parse_json_part(one("F32", "[1]", "[0.0,4]"), 4), Code::type);
  EXPECT_EQ(parse_json_part(one("F32", "[1]", "[0,4,8]"), 4), Code::value);
  EXPECT_EQ(parse_json_part(one("F32", "[1]", "[0]"), 4), Code::value);
  EXPECT_EQ(parse_json_part(one("F32", "[1]", "[0,18446744073709551616]"), 4), Code::type);
  EXPECT_EQ(parse_json_part(one("F32", "[1]", "[0,18446744073709551615]"), 4), Code::bounds);
  EXPECT_EQ(parse_json_part(one("F32", "[1]", "[2,8]"), 4), Code::bounds);
  EXPECT_EQ(parse_json_part(one("F32", "[1]", "[4,8]"), 4), Code::bounds);
  EXPECT_EQ(parse_json_part(one("F32", "[2]", "[0,4]"), 4), Code::mismatch);
  EXPECT_EQ(parse_json_part(one("F32", "[-1]", "[0,4]"), 4), Code::value);
  EXPECT_EQ(parse_json_part(one("F32", "[\"1\"]", "[0,4]"), 4), Code::type);
  EXPECT_EQ(parse_json_part(one("F32", "[4294967296,4294967296]", "[0,4]"), 4), Code::overflow);
  EXPECT_EQ(parse_json_part(one("F32", "[4611686018427387904]", "[0,4]"), 4), Code::overflow);
  EXPECT_EQ(parse_json_part(one("F32", "[9223372036854775808]", "[0,4]"), 4), Code::overflow);
  EXPECT_EQ(parse_json_part(one("F32", "[0,9223372036854775808]", "[0,0]"), 0), Code::overflow);
  EXPECT_EQ(line_of([] {
              const std::string bytes =
                  with_header(one("F32", "[4294967296,4294967296]", "[0,4]"), 4);
              parse_safetensors_header(std::as_bytes(std::span(bytes)), bytes.size(), "f");
            }),
            "error[E_OVERFLOW] f: tensor \"a\": the size of shape \"[4294967296,4294967296]\" "
            "overflows 64 bits");
  std::string nine_thousand = "[1";
  for (int i = 1; i < 9000; ++i) nine_thousand += ",1";
  EXPECT_EQ(parse_json_part(one("F32", nine_thousand + "]", "[0,4]"), 4), Code::limit);
  EXPECT_EQ(parse_json_part(one("F33", "[1]", "[0,4]"), 4), Code::type);
  EXPECT_EQ(parse_json_part("{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", 4),
            Code::type);
  EXPECT_EQ(parse_json_part(one("F4", "[3]", "[0,1]"), 1), Code::mismatch);
}

TEST(Safetensors, RefusesLayoutsThatDoNotTileTheData) {
  const auto two = [](const std::string& a, const std::string& b) {
    return "{" + entry("a", "U8", "[4]", a) + "," + entry("b", "U8", "[4]", b) + "}";
  };
  EXPECT_EQ(parse_json_part(two("[0,4]", "[3,7]"), 7), Code::overlap);
  EXPECT_EQ(parse_json_part(two("[0,4]", "[0,4]"), 4), Code::overlap);
  EXPECT_EQ(parse_json_part(two("[0,4]", "[5,9]"), 9), Code::hole);
  EXPECT_EQ(parse_json_part(two("[1,5]", "[5,9]"), 9), Code::hole);
  EXPECT_EQ(parse_json_part(two("[0,4]", "[4,8]"), 9), Code::hole);
  EXPECT_EQ(parse_json_part(two("[0,4]", "[4,8]"), 7), Code::truncated);  // cut
  EXPECT_EQ(parse_json_part("{}", 1), Code::hole);
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  EXPECT_EQ(parse_json_part("{}"), kAccepted);
  EXPECT_EQ(parse_json_part("{}     "), kAccepted);
  EXPECT_EQ(parse_json_part(one("F32", "[]", "[0,4]"), 4), kAccepted);
  EXPECT_EQ(parse_json_part(one("F32", "[0,3]", "[0,0]")), kAccepted);
  EXPECT_EQ(parse_json_part(one("F4", "[4]", "[0,2]"), 2), kAccepted);
  const std::string odd = "{" + entry("a", "U8", "[1]", "[0,1]") + "," +
                          entry("b", "F32", "[1]", "[1,5]") + "," +
                          entry("z", "F32", "[0]", "[1,1]") + "}";
  EXPECT_EQ(parse_json_part(odd, 5), kAccepted);
}

TEST(Safetensors, ErrorsAreOneLineThatNamesFileTensorAndReason) {
  TempFolder folder;
  const std::string cut = with_header(one("F32", "[4]", "[0,16]"), 10);
  const std::string path = folder.write("m.safetensors", cut);
  EXPECT_EQ(line_of([&] { open_safetensors(path, folder.context); }),
            "error[E_TRUNC] " + path + ": download incomplete: has " + std::to_string(cut.size()) +
                " bytes, needs " + std::to_string(cut.size() + 6) + "; download it again");
  folder.write("m.safetensors", with_header(one("F32", "[5]", "[0,16]"), 16));
  EXPECT_EQ(line_of([&] { open_safetensors(path, folder.context); }),
            "error[E_MISMATCH] " + path +
                ": tensor \"a\": range 0..16 has 16 bytes, shape [5] of F32 needs 20");
}

TEST(Safetensors, UsualMistakesAreNamed) {
  TempFolder folder;
  const auto line = [&](const std::string& bytes) {
    const std::string path = folder.write("m.safetensors", bytes);
    const std::string text = line_of([&] { open_safetensors(path, folder.context); });
    const auto at = text.find("m.safetensors: ");
    return text.substr(0, text.find(' ')) + " " +
           (at == std::string::npos ? text : text.substr(at + 15));
  };
  EXPECT_EQ(line("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"),
            "error[E_MAGIC] is a Git LFS pointer, not the safetensors file it stands for; run `git "
            "lfs pull` in its folder, or "
            "download the file itself");
  EXPECT_THAT(line("<!DOCTYPE html><html>"), testing::StartsWith("error[E_MAGIC] is a web page"));
  EXPECT_THAT(line(std::string("\x1F\x8B\x08\0\0\0\0\0\0\xff", 10)),
              testing::StartsWith("error[E_MAGIC] is gzip-compressed"));
  EXPECT_THAT(line(""), testing::StartsWith("error[E_TRUNC] the file is empty"));
  EXPECT_THAT(line(std::string("GGUF\3") + std::string(11, '\0')),
              testing::StartsWith("error[E_MAGIC] is a GGUF file"));
}

TEST(Safetensors, ReadsWholeTensorsRowsAndMappings) {
  TempFolder folder;
  HostTensor a(DType::f32, {3, 2}), b(DType::bf16, {1}), c(DType::i64, {});
  for (size_t i = 0; i < 6; ++i) a.as<float>()[i] = static_cast<float>(i);
  b.as<uint16_t>()[0] = f32_to_bf16(1.5f);
  c.as<int64_t>()[0] = -7;
  write_safetensors(folder.env(), folder.in("m.safetensors"), {{"a", &a}, {"b", &b}, {"c", &c}});
  const auto file = open_safetensors(folder.in("m.safetensors"), folder.context);
  EXPECT_EQ(file->metadata().at("format"), "pt");
  ASSERT_EQ(file->tensors().size(), 3u);
  EXPECT_EQ(file->find("b")->stored_as, "bf16");
  EXPECT_EQ(file->find("none"), nullptr);
  EXPECT_THAT(file->read("a").as<float>(), testing::ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(file->read("c").as<int64_t>()[0], -7);
  EXPECT_EQ(file->read("c").shape(), Shape{});
  const HostTensor rows = file->read_rows("a", 1, 3);
  EXPECT_EQ(rows.shape(), (Shape{2, 2}));
  EXPECT_THAT(rows.as<float>(), testing::ElementsAre(2, 3, 4, 5));
  ASSERT_EQ(file->mapped("b").size(), 2u);
  uint16_t bits;
  std::memcpy(&bits, file->mapped("b").data(), 2);
  EXPECT_EQ(bits, f32_to_bf16(1.5f));
  EXPECT_THAT(line_of([&] { file->read("aa"); }),
              testing::HasSubstr("has no tensor \"aa\"; the nearest name is \"a\""));
}

TEST(Safetensors, DtypesThatWeDoNotHoldAreListedAndRefusedOnReading) {
  TempFolder folder;
  const auto file = open_safetensors(
      folder.write("m.safetensors", with_header(one("F6_E2M3", "[4]", "[0,3]"), 3)),
      folder.context);
  EXPECT_EQ(file->find("a")->stored_as, "f6_e2m3");
  EXPECT_EQ(code_of([&] { file->read("a"); }), Code::unsupported);
}

TEST(SafetensorsWriter, GivesTheBytesOfTheUpstreamWriter) {
  // The fixtures were written by safetensors 0.8: reading and writing them again must not change a
  // bit.
  for (const char* name : {"llama_gqa_untied/model.safetensors", "gpt2_tiny/model.safetensors",
                           "bert_tiny/model.safetensors"}) {
    TempFolder folder;
    const auto file = open_safetensors(fixture(name), folder.context);
    std::vector<TensorDecl> declared;
    for (const TensorInfo& info : file->tensors())
      declared.push_back({info.name, info.dtype, info.shape});
    SafetensorsWriter writer(folder.env(), folder.in("copy"), declared, file->metadata());
    for (const TensorDecl& tensor : writer.order()) {
      const HostTensor data = file->read(tensor.name);
      writer.write(tensor.name, data.bytes().first(data.bytes().size() / 2));  // in two pieces
      writer.write(tensor.name, data.bytes().subspan(data.bytes().size() / 2));
    }
    writer.finish();
    EXPECT_TRUE(folder.read("copy") == folder.env().read_text(fixture(name), 1 << 30)) << name;
    EXPECT_EQ(writer.file_size(), folder.read("copy").size());
  }
}

TEST(SafetensorsWriter, OrdersDtypesAsUpstreamDoes) {
  // Recorded from safetensors 0.8.0 with one tensor of each dtype, z.. named against the order.
  std::vector<TensorDecl> declared;
  const DType upstream[] = {DType::u64,     DType::i64, DType::f64,     DType::f32,
                            DType::u32,     DType::i32, DType::bf16,    DType::f16,
                            DType::u16,     DType::i16, DType::f8_e8m0, DType::f8_e4m3,
                            DType::f8_e5m2, DType::i8,  DType::u8,      DType::boolean};
  int z = 99;
  for (DType dtype : upstream) declared.push_back({"z" + std::to_string(z--), dtype, {0}});
  std::reverse(declared.begin(), declared.end());
  TempFolder folder;
  SafetensorsWriter writer(folder.env(), folder.in("m"), declared);
  std::vector<DType> got;
  for (const auto& tensor : writer.order()) got.push_back(tensor.dtype);
  EXPECT_THAT(got, testing::ElementsAreArray(upstream));
  writer.finish();
  EXPECT_EQ(open_safetensors(folder.in("m"), folder.context)->tensors().size(), 16u);
}

TEST(SafetensorsWriter, DiskErrorsReachTheCaller) {
  for (const char* broken : {"create", "write", "sync", "close"}) {
    TempFolder folder;
    auto env = fault_env(folder.env(), [&](std::string_view op, const std::string&) {
      return op == broken ? ENOSPC : 0;
    });
    HostTensor a(DType::f32, {3});
    EXPECT_EQ(code_of([&] {
                write_safetensors(*env, folder.in("m"), {{"a", &a}});
              }),
              Code::io)
        << broken;
  }
}

void expect_equal_tensors(const TensorSource& a, const TensorSource& b) {
  ASSERT_EQ(a.tensors().size(), b.tensors().size());
  for (const TensorInfo& info : a.tensors()) {
    const TensorInfo* other = b.find(info.name);
    ASSERT_NE(other, nullptr) << info.name;
    EXPECT_EQ(info.shape, other->shape);
    const HostTensor x = a.read(info.name), y = b.read(info.name);
    ASSERT_EQ(x.dtype(), y.dtype());
    EXPECT_TRUE(std::equal(x.bytes().begin(), x.bytes().end(), y.bytes().begin(), y.bytes().end()))
        << info.name;
  }
}

TEST(SafetensorsIndex, ShardsEqualTheSingleFile) {
  TempFolder folder;
  expect_equal_tensors(*open_tensors(fixture("llama_gqa_untied"), folder.context),
                       *open_tensors(fixture("llama_gqa_untied_sharded"), folder.context));
}

class IndexTest : public testing::Test {
 protected:
  void SetUp() override {
    HostTensor a(DType::f32, {2}), b(DType::f32, {3});
    write_safetensors(folder.env(), folder.in("s1.safetensors"), {{"a", &a}});
    write_safetensors(folder.env(), folder.in("s2.safetensors"), {{"b", &b}});
  }
  Code open(const std::string& map) {
    folder.write("model.safetensors.index.json",
                 "{\"metadata\":{\"total_size\":20},\"weight_map\":" + map + "}");
    return code_of([&] { open_tensors(folder.path(), folder.context); });
  }
  TempFolder folder;
};

TEST_F(IndexTest, EachMistakeHasItsCode) {
  EXPECT_EQ(open(R"({"a":"s1.safetensors","b":"s2.safetensors"})"), kAccepted);
  EXPECT_EQ(open(R"({"a":"s1.safetensors","b":"s3.safetensors"})"), Code::missing);
  EXPECT_EQ(open(R"({"a":"s1.safetensors","b":"s1.safetensors"})"), Code::missing);
  EXPECT_EQ(open(R"({"a":"s2.safetensors","b":"s1.safetensors"})"), Code::mismatch);
  EXPECT_EQ(open(R"({"a":"s1.safetensors","b":2})"), Code::type);
  EXPECT_EQ(open("[]"), Code::type);
  for (const char* name : {"../x", "/x", "a/../../x", "..", ".", "", "C:x", "a\\\\b", "x\\u0000y"})
    EXPECT_EQ(open(std::string("{\"a\":\"") + name + "\"}"), Code::path) << name;
  folder.env().make_directories(folder.in("dir.safetensors"));
  EXPECT_EQ(open(R"({"a":"dir.safetensors"})"), Code::path);
  ASSERT_EQ(::mkfifo(folder.in("fifo.safetensors").c_str(), 0600), 0);
  EXPECT_EQ(open(R"({"a":"fifo.safetensors"})"), Code::path);
  HostTensor a(DType::f32, {2});
  write_safetensors(folder.env(), folder.in("twin.safetensors"), {{"a", &a}, {"c", &a}});
  EXPECT_EQ(open(R"({"a":"s1.safetensors","c":"twin.safetensors"})"), Code::duplicate);
  const std::string whole = folder.read("s2.safetensors");
  folder.write("s2.safetensors", whole.substr(0, whole.size() - 1));
  EXPECT_EQ(open(R"({"a":"s1.safetensors","b":"s2.safetensors"})"), Code::truncated);
  folder.write("model.safetensors.index.json", "{}");
  EXPECT_EQ(code_of([&] { open_tensors(folder.path(), folder.context); }), Code::missing);
}

TEST_F(IndexTest, LinksMayNotLeadOutOfTheFolder) {
  TempFolder other;
  HostTensor a(DType::f32, {2});
  write_safetensors(folder.env(), other.in("x.safetensors"), {{"a", &a}});
  ASSERT_EQ(::symlink(other.in("x.safetensors").c_str(), folder.in("out.safetensors").c_str()), 0);
  EXPECT_EQ(open(R"({"a":"out.safetensors"})"), Code::path);
  ASSERT_EQ(::symlink("s1.safetensors", folder.in("in.safetensors").c_str()), 0);
  EXPECT_EQ(open(R"({"a":"in.safetensors"})"), kAccepted);
  ASSERT_EQ(::symlink("nowhere", folder.in("dangling.safetensors").c_str()), 0);
  EXPECT_EQ(open(R"({"a":"dangling.safetensors"})"), Code::missing);
  // The hub's cache: snapshots/COMMIT/file -> ../../blobs/ETAG.
  const std::string snapshot = folder.in("models--o--n/snapshots/c0");
  folder.env().make_directories(snapshot);
  folder.env().make_directories(folder.in("models--o--n/blobs"));
  folder.env().rename(folder.in("s1.safetensors"), folder.in("models--o--n/blobs/e1"));
  ASSERT_EQ(::symlink("../../blobs/e1", join_path(snapshot, "s1.safetensors").c_str()), 0);
  folder.write("models--o--n/snapshots/c0/model.safetensors.index.json",
               R"({"weight_map":{"a":"s1.safetensors"}})");
  EXPECT_EQ(open_tensors(snapshot, folder.context)->tensors().size(), 1u);
}

TEST(ModelFolder, PicksSafetensorsFirstAndSaysWhatItLookedFor) {
  TempFolder folder;
  EXPECT_EQ(code_of([&] { find_weights(folder.in("absent"), folder.context); }), Code::missing);
  EXPECT_THAT(line_of([&] { find_weights(folder.path(), folder.context); }),
              testing::HasSubstr("holds no weights: looked for"));
  folder.write("model-00001-of-00002.safetensors", "");
  EXPECT_THAT(line_of([&] { find_weights(folder.path(), folder.context); }),
              testing::HasSubstr("no model.safetensors.index.json"));
  folder.write("b-00002-of-00002.gguf", "");
  folder.write("b-00001-of-00002.gguf", "");
  EXPECT_EQ(find_weights(folder.path(), folder.context).path, folder.in("b-00001-of-00002.gguf"));
  folder.write("a.gguf", "");
  EXPECT_EQ(code_of([&] { find_weights(folder.path(), folder.context); }), Code::usage);
  folder.write("pytorch_model.bin", "");
  EXPECT_EQ(find_weights(folder.path(), folder.context).kind, WeightFiles::Kind::pytorch);
  folder.write("model.safetensors", "");
  EXPECT_EQ(find_weights(folder.path(), folder.context).kind, WeightFiles::Kind::safetensors);
  folder.write("notes.txt", "hello");
  EXPECT_EQ(code_of([&] { find_weights(folder.in("notes.txt"), folder.context); }), Code::magic);
}

TEST(ModelFolder, ConfigIsReadStrictly) {
  TempFolder folder;
  EXPECT_EQ(code_of([&] { read_config(folder.path(), folder.context); }), Code::missing);
  const auto config = [&](const std::string& text) {
    folder.write("config.json", text);
    return code_of([&] { read_config(folder.path(), folder.context); });
  };
  EXPECT_EQ(config("{\"hidden_size\": 64}"), kAccepted);
  EXPECT_EQ(config("{\"hidden_size\": 6"), Code::json);
  EXPECT_EQ(config("[1]"), Code::type);
  EXPECT_EQ(config(std::string(100000, '[')), Code::depth);
  EXPECT_EQ(config("{\"a\":1,\"a\":1}"), Code::duplicate);
  EXPECT_EQ(config("{\"a\":NaN}"), Code::json);
  EXPECT_EQ(config("{\"a\":1e999}"), Code::json);
  EXPECT_EQ(config("{\"a\":\"\\ud800\"}"), Code::json);
  EXPECT_EQ(config(""), Code::truncated);
  EXPECT_EQ(config("version https://git-lfs.github.com/spec/v1\n"), Code::magic);
  EXPECT_EQ(config("<html>"), Code::magic);
}

}  // namespace
}  // namespace halftone::files
