#include "halftone/files/pytorch_bin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halftone/files/model_folder.h"
#include "halftone/files/pickle.h"
#include "halftone/files/safetensors.h"
#include "halftone/files/test_files.h"
#include "halftone/files/test_zip.h"

namespace halftone::files {
namespace {
using namespace testing_files;
using namespace testing_files::pickled;

std::string fixture(const std::string& name) {
  return std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/pytorch/" + name;
}
std::string model(const std::string& name) {
  return std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/models/" + name;
}
constexpr Code kAccepted = Code::internal;

void expect_same(const TensorSource& got, const TensorSource& want, const std::string& what) {
  for (const TensorInfo& info : want.tensors()) {
    ASSERT_NE(got.find(info.name), nullptr) << what << " " << info.name;
    const HostTensor a = got.read(info.name), b = want.read(info.name);
    ASSERT_EQ(a.dtype(), b.dtype()) << what << " " << info.name;
    ASSERT_EQ(a.shape(), b.shape()) << what << " " << info.name;
    EXPECT_TRUE(std::equal(a.bytes().begin(), a.bytes().end(), b.bytes().begin(), b.bytes().end()))
        << what << " " << info.name;
    if (a.shape().empty() || a.shape()[0] < 2) continue;
    const HostTensor rows = got.read_rows(info.name, 1, a.shape()[0]),
                     want_rows = want.read_rows(info.name, 1, a.shape()[0]);
    EXPECT_TRUE(std::equal(rows.bytes().begin(), rows.bytes().end(), want_rows.bytes().begin(),
                           want_rows.bytes().end()))
        << what << " rows of " << info.name;
    const auto mapped = got.mapped(info.name);
    EXPECT_TRUE(mapped.empty() ||
                std::equal(mapped.begin(), mapped.end(), b.bytes().begin(), b.bytes().end()))
        << what << " map of " << info.name;
  }
}

TEST(PytorchBin, HoldsWhatTorchWrote) {
  TempFolder folder;
  for (const auto& [bin, tensors] :
       std::vector<std::pair<std::string, std::string>>{{"types", "types"},
                                                        {"views", "views"},
                                                        {"protocol4", "plain"},
                                                        {"module", "plain"},
                                                        {"parameter", "plain"},
                                                        {"training", "plain"},
                                                        {"nocrc", "plain"}}) {
    folder.log.clear();
    const auto got = open_pytorch(fixture(bin + ".bin"), folder.context);
    const auto want = open_safetensors(fixture(tensors + ".safetensors"), folder.context);
    EXPECT_EQ(got->tensors().size(), want->tensors().size()) << bin;
    expect_same(*got, *want, bin);
    EXPECT_EQ(folder.log.find("checksums") != std::string::npos, bin == "nocrc") << folder.log;
    EXPECT_EQ(folder.log.find("skipped") != std::string::npos, bin == "training") << folder.log;
  }
}

TEST(PytorchBin, EqualsTheSafetensorsOfTheSameModel) {
  TempFolder folder;
  expect_same(*open_tensors(model("llama_mha_tied_bin"), folder.context),
              *open_tensors(model("llama_mha_tied"), folder.context), "llama");
  expect_same(*open_tensors(model("gpt2_tiny_bin"), folder.context),
              *open_tensors(model("gpt2_tiny"), folder.context), "gpt2");
}

TEST(PytorchBin, OtherFormatsOfTorchAreRefusedByName) {
  TempFolder folder;
  EXPECT_THAT(
      line_of([&] { open_pytorch(fixture("legacy.bin"), folder.context); }),
      testing::HasSubstr("from before 1.6; load it in PyTorch and re-save it as safetensors"));
  EXPECT_THAT(line_of([&] { open_pytorch(fixture("script.pt"), folder.context); }),
              testing::HasSubstr("is a TorchScript archive"));
  const std::string pickle = folder.write("p.bin", program("N"));
  EXPECT_EQ(code_of([&] { open_tensors(pickle, folder.context); }), Code::unsupported);
  ZipBuilder big;
  big.add("m/data.pkl", state_dict({})).add("m/byteorder", "big");
  EXPECT_THAT(line_of([&] { open_pytorch(folder.write("b.bin", big.bytes()), folder.context); }),
              testing::HasSubstr("big-endian"));
}

TEST(PytorchIndex, ReadsShardsThroughTheIndex) {
  TempFolder folder;
  folder.write("s1.bin", folder.env().read_text(fixture("protocol4.bin"), 1 << 20));
  folder.write("pytorch_model.bin.index.json",
               R"({"weight_map":{"norm.weight":"s1.bin","linear.bias":"s1.bin"}})");
  EXPECT_EQ(open_tensors(folder.path(), folder.context)->tensors().size(), 2u);
  folder.write("pytorch_model.bin.index.json", R"({"weight_map":{"norm.weight":"../s1.bin"}})");
  EXPECT_EQ(code_of([&] { open_tensors(folder.path(), folder.context); }), Code::path);
}

class ArchiveTest : public testing::Test {
 protected:
  Code open(const std::string& bytes) {
    const std::string path = folder.write("m.bin", bytes);
    return code_of([&] {
      const auto source = open_pytorch(path, folder.context);
      for (const TensorInfo& info : source->tensors()) source->read(info.name);
    });
  }
  Code open(const ZipBuilder& zip) { return open(zip.bytes()); }
  Code run(const std::string& pickle) { return open(pytorch_archive(pickle)); }
  TempFolder folder;
};

const std::string kStore = storage("FloatStorage", "0", number(4));
const std::string kTensor =
    tensor_v2(kStore, number(0), tuple({number(2), number(2)}), tuple({number(2), number(1)}));

TEST_F(ArchiveTest, AcceptsAWellFormedOne) {
  EXPECT_EQ(run(state_dict({{"w", kTensor}})), kAccepted);
  ZipBuilder zip64;
  zip64.add("m/data.pkl", state_dict({{"w", kTensor}})).add("m/data/0", std::string(16, 'x'));
  for (auto& e : zip64.entries) e.zip64 = true;
  zip64.zip64 = true;
  EXPECT_EQ(open(zip64), kAccepted);
  ZipBuilder comment;
  comment.add("m/data.pkl", state_dict({{"w", kTensor}}))
      .add("m/data/0", std::string(16, 'x'))
      .comment = "a note";
  EXPECT_EQ(open(comment), kAccepted);
}

TEST_F(ArchiveTest, RefusesDamagedZips) {
  const auto good = [] {
    ZipBuilder zip;
    zip.add("m/data.pkl", state_dict({{"w", kTensor}})).add("m/data/0", std::string(16, 'x'));
    return zip;
  };
  ASSERT_EQ(open(good()), kAccepted);
  const auto change = [&](const std::function<void(ZipBuilder&)>& f) {
    auto zip = good();
    f(zip);
    return open(zip);
  };
  EXPECT_EQ(open(""), Code::truncated);
  EXPECT_EQ(open("7z\xBC\xAF\x27\x1C"), Code::magic);
  EXPECT_EQ(open("<html>"), Code::magic);
  EXPECT_EQ(open("PK\3\4"), Code::truncated);
  const std::string whole = good().bytes();
  for (size_t cut = 1; cut < whole.size() - 4; ++cut)
    ASSERT_EQ(open(whole.substr(0, whole.size() - cut)), Code::truncated) << cut;
  EXPECT_EQ(change([](auto& z) { z.entries[1].name = z.entries[1].local_name = "m/../data/0"; }),
            Code::path);
  EXPECT_EQ(change([](auto& z) { z.entries[1].name = z.entries[1].local_name = "/data/0"; }),
            Code::path);
  EXPECT_EQ(change([](auto& z) { z.add("m/data/0", "y"); }), Code::duplicate);
  EXPECT_EQ(change([](auto& z) { z.entries[1].local_name = "m/data/1"; }), Code::mismatch);
  EXPECT_EQ(change([](auto& z) { z.entries[1].flags |= 1; }), Code::unsupported);
  EXPECT_EQ(change([](auto& z) { z.entries[1].method = 8; }), Code::unsupported);
  EXPECT_EQ(change([](auto& z) { z.add("m/x", "y"), z.entries[2].method = 8; }), Code::unsupported);
  EXPECT_EQ(change([](auto& z) { z.entries[0].crc_xor = 1; }), Code::mismatch);
  EXPECT_EQ(change([](auto& z) { z.entries[1].crc_xor = 1; }), Code::mismatch);
  EXPECT_EQ(change([](auto& z) { z.entries[1].size_change = 1 << 20; }), Code::bounds);
  EXPECT_EQ(change([](auto& z) { z.entries[0].size_change = 20; }), Code::overlap);
  EXPECT_EQ(change([](auto& z) { z.entries[1].offset_change = 1; }), Code::mismatch);
  EXPECT_EQ(change([](auto& z) { z.entries[1].offset_change = 1 << 20; }), Code::bounds);
  EXPECT_EQ(change([](auto& z) { z.directory_offset_change = 1 << 20; }), Code::bounds);
  EXPECT_EQ(change([](auto& z) { z.directory_offset_change = 4; }), Code::bounds);
  EXPECT_EQ(change([](auto& z) { z.directory_offset_change = -4; }), Code::mismatch);
  EXPECT_EQ(change([](auto& z) { z.count_change = 1; }), Code::truncated);
  EXPECT_EQ(change([](auto& z) { z.count_change = -1; }), Code::mismatch);
  EXPECT_EQ(change([](auto& z) { z.zip64 = true, z.count_change = int64_t{1} << 40; }),
            Code::limit);
  EXPECT_EQ(change([](auto& z) { z.zip64 = true, z.directory_offset_change = INT64_MIN; }),
            Code::bounds);
  EXPECT_EQ(change([](auto& z) { z.entries[0].name = z.entries[0].local_name = "m/other.pkl"; }),
            Code::missing);
  EXPECT_EQ(change([](auto& z) { z.add("n/data.pkl", ""); }), Code::duplicate);
}

TEST_F(ArchiveTest, RefusesCode) {
  const auto value = [&](const std::string& encoded) { return run(state_dict({{"w", encoded}})); };
  EXPECT_EQ(value(global("os", "system") + tuple({text("true")}) + "R"), Code::unsafe);
  EXPECT_EQ(value(global("torch", "load") + tuple({text("x")}) + "R"), Code::unsafe);
  EXPECT_EQ(run(program(global("os", "system") + tuple({text("true")}) + "R0}")),
            Code::unsafe);                                               // before a POP
  EXPECT_EQ(value(text("os") + text("system") + "\x93"), Code::unsafe);  // STACK_GLOBAL
  EXPECT_EQ(value("(S'x'\nios\nsystem\n"), Code::unsafe);                // INST
  EXPECT_EQ(value("(" + global("torch", "Size") + "o"), Code::unsafe);   // OBJ
  EXPECT_EQ(value(global("torch", "Size") + ")\x81"), Code::unsafe);     // NEWOBJ
  EXPECT_EQ(value("\x82\x01"), Code::unsafe);                            // EXT1
  EXPECT_EQ(value("P0\n"), Code::unsafe);                                // textual PERSID
  EXPECT_EQ(value("\x8b" + raw<uint32_t>(1u << 31)), Code::unsafe);      // LONG4
  EXPECT_EQ(run(state_dict({}) + state_dict({})), Code::unsafe);
  EXPECT_EQ(value(global("torch", "FloatStorage")), Code::unsafe);
  EXPECT_EQ(value(tuple({global("torch", "FloatStorage")})), Code::unsafe);
  EXPECT_EQ(value("]" + global("torch", "FloatStorage") + "a"), Code::unsafe);
  EXPECT_EQ(run(program(global("collections", "OrderedDict"))), Code::unsafe);
  EXPECT_EQ(value(global("torch", "FloatStorage") + ")R"), Code::unsafe);
  EXPECT_EQ(value(text("f") + ")R"), Code::unsafe);
  EXPECT_EQ(value(number(7) + "Q"), Code::unsafe);
  EXPECT_EQ(value(tuple({text("module"), number(1), number(1), number(1), number(1)}) + "Q"),
            Code::unsafe);
  const std::string hooks = "}" + text("h") + number(1) + "s";
  EXPECT_EQ(value(global("torch._utils", "_rebuild_tensor_v2") +
                  tuple({kStore, number(0), ")", ")", "\x89", hooks}) + "R"),
            Code::unsafe);
}

TEST_F(ArchiveTest, RefusesBadStorages) {
  const auto with = [&](const std::string& store, int elements = 4) {
    return run(state_dict(
        {{"w", tensor_v2(store, number(0), tuple({number(elements)}), tuple({number(1)}))}}));
  };
  EXPECT_EQ(with(storage("FloatStorage", "0", number(4))), kAccepted);
  EXPECT_EQ(with(storage("FloatStorage", "0", number(5))),
            Code::bounds);  // the record has 16 bytes
  EXPECT_EQ(with(storage("FloatStorage", "0", number(-1))), Code::value);
  EXPECT_EQ(with(storage("DoubleStorage", "0", long8(INT64_MAX))), Code::overflow);
  EXPECT_EQ(with(storage("QuaternionStorage", "0", number(4))), Code::unsafe);
  EXPECT_EQ(with(storage("Size", "0", number(4))), Code::type);
  EXPECT_EQ(with(storage("FloatStorage", "1", number(4))), Code::missing);
  EXPECT_EQ(with(storage("FloatStorage", "../0", number(4))), Code::path);
  EXPECT_EQ(with(storage("FloatStorage", "a/b", number(4))), Code::path);
  EXPECT_EQ(with(storage("FloatStorage", "", number(4))), Code::path);
  EXPECT_EQ(with(storage("FloatStorage", "0", text("4"))), Code::type);
  EXPECT_EQ(with(number(0)), Code::type);
}

TEST_F(ArchiveTest, RefusesBadViews) {
  const auto view = [&](const std::string& offset, const std::string& size,
                        const std::string& stride) {
    return run(state_dict({{"w", tensor_v2(kStore, offset, size, stride)}}));
  };
  const auto list = [](const std::vector<int64_t>& v) {
    std::vector<std::string> items;
    for (int64_t x : v) items.push_back(long8(x));
    return tuple(items);
  };
  EXPECT_EQ(view(number(0), list({2, 2}), list({1, 2})), kAccepted);
  EXPECT_EQ(view(number(3), list({}), list({})), kAccepted);
  EXPECT_EQ(view(number(4), list({}), list({})), Code::bounds);
  EXPECT_EQ(view(number(1), list({2, 2}), list({2, 1})), Code::bounds);
  EXPECT_EQ(view(number(0), list({2, 2}), list({3, 1})), Code::bounds);
  EXPECT_EQ(view(number(-1), list({1}), list({1})), Code::value);
  EXPECT_EQ(view(long8(INT64_MAX), list({1}), list({1})), Code::bounds);
  EXPECT_EQ(view(long8(INT64_MAX), list({2}), list({1})), Code::overflow);
  EXPECT_EQ(view(long8(INT64_MAX), list({0}), list({1})), kAccepted);  // nothing is read
  EXPECT_EQ(view(number(0), list({-1}), list({1})), Code::value);
  EXPECT_EQ(view(number(0), list({1}), list({-1})), Code::value);
  EXPECT_EQ(view(number(0), list({INT64_MAX, 3}), list({1, 1})), Code::overflow);
  EXPECT_EQ(view(number(0), list({2}), list({INT64_MAX})), Code::bounds);
  EXPECT_EQ(view(number(1), list({2}), list({INT64_MAX})), Code::overflow);
  EXPECT_EQ(view(number(0), list({int64_t{1} << 40}), list({0})),
            Code::limit);  // 4 bytes that claim 4 TiB
  EXPECT_EQ(view(number(0), list({1, 1}), list({1})), Code::mismatch);
  EXPECT_EQ(view(number(0), list(std::vector<int64_t>(9, 1)), list(std::vector<int64_t>(9, 1))),
            Code::limit);
  EXPECT_EQ(view(number(0), number(1), list({1})), Code::type);
  EXPECT_EQ(view(number(0), tuple({text("1")}), list({1})), Code::type);
  EXPECT_EQ(view(number(0), tuple({std::string("\x8a\x09") + std::string(9, '\x01')}), list({1})),
            Code::overflow);
}

TEST_F(ArchiveTest, RefusesMisusedOpcodes) {
  EXPECT_EQ(run(program("]" + text("a") + number(1) + "s")), Code::type);  // SETITEM on a list
  EXPECT_EQ(run(program("](" + text("a") + number(1) + "u")), Code::type);
  EXPECT_EQ(run(program("}" + number(1) + "a")), Code::type);  // APPEND on a dict
  EXPECT_EQ(run(program("}(" + number(1) + "e")), Code::type);
  EXPECT_EQ(run(program("}}b")), Code::type);  // BUILD on a plain dict
  EXPECT_EQ(run(program(ordered_dict() + "}b")), kAccepted);
  EXPECT_EQ(run(program(number(1))), Code::type);
  EXPECT_EQ(run(program("}h\x05"
                        "0")),
            Code::value);  // empty memo slot
  EXPECT_EQ(run(program("}r\xff\xff\xff\xff")), Code::limit);
  EXPECT_EQ(run(program("}j\xff\xff\xff\xff"
                        "0")),
            Code::value);
  EXPECT_EQ(run(program("0")), Code::value);
  EXPECT_EQ(run(program("}\x86")), Code::value);
  EXPECT_EQ(run(program("}t")), Code::value);     // no MARK
  EXPECT_EQ(run(program("(\x85")), Code::value);  // a mark is no value
  EXPECT_EQ(run(program("}}")), Code::value);
  EXPECT_EQ(run(program("}(" + text("a") + "u")), Code::value);
  EXPECT_EQ(run("\x80\x02}"), Code::truncated);  // no STOP
  EXPECT_EQ(run(""), Code::truncated);
  EXPECT_EQ(run("}."), Code::magic);
  EXPECT_EQ(run("\x80\x07}."), Code::version);
  EXPECT_EQ(run(program("X" + raw<uint32_t>(1u << 31) + "a")), Code::truncated);
  EXPECT_EQ(run(program("\x95" + raw<uint64_t>(~0ull) + "}")), Code::truncated);
  EXPECT_EQ(run(program("X" + raw<uint32_t>(1) + "\xff")), Code::utf8);
  EXPECT_EQ(run(program("c" + std::string(1000, 'm') + "\nx\n")), Code::limit);
  EXPECT_EQ(run(state_dict({{"w", kTensor}, {"w", kTensor}})), Code::duplicate);
  EXPECT_EQ(run(program("}(" + number(1) + kTensor + "u")), Code::type);
  EXPECT_EQ(run(state_dict({{std::string(300, 'n'), kTensor}})), Code::limit);
  Limits few;
  few.pickle_opcodes = 100;
  EXPECT_EQ(code_of([&] {
              const std::string p = program(std::string(101, 'N') + std::string(100, '0') + "}");
              read_state_dict(std::as_bytes(std::span(p)), "f", few);
            }),
            Code::limit);
}

TEST_F(ArchiveTest, EveryOpcodeThatIsNotListedIsRefused) {
  const std::string listed =
      "(.01N\x88\x89JKM\x8aGX\x8cUt)\x85\x86\x87]}\x8f"
      "aesuqr\x94hjc\x93QRb\x95";
  int64_t refused = 0;
  for (int op = 0; op < 256; ++op) {
    if (listed.find(static_cast<char>(op)) != std::string::npos) continue;
    // Arguments that would serve each of them: numbers, a line, values on the stack.
    EXPECT_EQ(run(program("}(" + text("a") + number(1) + std::string(1, static_cast<char>(op)) +
                          "1\n1\n" + std::string(16, '\0'))),
              Code::unsafe)
        << op;
    ++refused;
  }
  EXPECT_EQ(refused, 256 - static_cast<int64_t>(listed.size()));
}

TEST_F(ArchiveTest, DeepSharedAndCyclicValuesAreHarmless) {
  std::string nested = ")";
  for (int i = 0; i < 200'000; ++i) nested += "\x85";
  EXPECT_EQ(run(state_dict({{"deep", nested}, {"w", kTensor}})), kAccepted);
  std::string shared = ")";
  for (int i = 0; i < 64; ++i)
    shared += std::string("q") + static_cast<char>(i) + "h" + static_cast<char>(i) +
              "\x86";  // 2^64 leaves
  EXPECT_EQ(run(state_dict({{"shared", shared}, {"w", kTensor}})), kAccepted);
  EXPECT_EQ(run(state_dict({{"cycle",
                             "]q\x01h\x01"
                             "a"},
                            {"w", kTensor}})),
            kAccepted);
  EXPECT_EQ(run(program("]q\x01h\x01"
                        "a")),
            Code::type);
}

}  // namespace
}  // namespace halftone::files
