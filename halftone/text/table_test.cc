#include "halftone/text/table.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>

#include "halftone/files/datasets.h"
#include "halftone/text/test_text.h"

namespace halftone::text {
namespace {

const std::string kFolder = std::string(HALFTONE_SOURCE_DIR) + "/tests/fixtures/parquet/";

// As make.py beside the files wrote them.
std::vector<std::string> written() {
  std::vector<std::string> out;
  for (int i = 0; i < 300; ++i)
    out.push_back(i % 50 == 49 || i % 10 == 0 ? ""
                  : i % 3                     ? " = Row " + std::to_string(i % 7) + " = \n"
                          : "gr\u00F6\u00DFer " + std::to_string(i) + " \U0001F600\n");
  return out;
}

TEST(Table, ReadsWhatPyarrowWrote) {
  const auto env = posix_env();
  for (const char* name : {"text_snappy.parquet", "text_zstd.parquet"}) {
    EXPECT_EQ(read_text_column(*env, kFolder + name, "text"), written()) << name;
    TextTable table(*env, kFolder + name);
    std::vector<std::string> rows;
    for (auto some = table.next(7); !some.empty(); some = table.next(7)) {
      EXPECT_LE(some.size(), 7u);
      rows.insert(rows.end(), some.begin(), some.end());
    }
    EXPECT_EQ(rows, written()) << name;
    EXPECT_TRUE(table.next(7).empty());
  }
  EXPECT_EQ(read_text_column(*env, kFolder + "text_required.parquet", "text"),
            (std::vector<std::string>{"a", "", "b"}));
}

TEST(Table, IsTheReaderOfDataSets) {
  const auto env = posix_env();
  const files::TextSet set =
      files::read_text_file(*env, kFolder + "text_required.parquet", parquet_reader(*env));
  EXPECT_EQ(set.rows, (std::vector<std::string>{"a", "", "b"}));
}

TEST(Table, MistakesAreOneLine) {
  const auto env = posix_env();
  const auto line = [&](const std::string& path, const std::string& column) {
    return error_line([&] { read_text_column(*env, path, column); });
  };
  const std::string other = kFolder + "other_types.parquet";
  EXPECT_EQ(line(other, "text"),
            "error[E_MISSING] " + other +
                ": has no column \"text\"; it has \"number\", \"list.list.element\"");
  EXPECT_EQ(
      line(other, "number"),
      "error[E_VALUE] " + other +
          ": not a usable parquet file: \"column \\\"number\\\" does not hold one text a row\"");
  EXPECT_EQ(line(other, "list.list.element").substr(0, 17), "error[E_VALUE] " + other.substr(0, 2));
  const std::string readme = kFolder + "make.py";
  EXPECT_EQ(
      line(readme, "text"),
      "error[E_VALUE] " + readme +
          ": not a usable parquet file: \"Parquet error: Invalid Parquet file. Corrupt footer\"");
}

TEST(Table, ASmallFileMayNotStandForVeryMuchText) {
  const auto env = posix_env();
  const std::string path = kFolder + "repeated.parquet";
  EXPECT_EQ(error_line([&] { read_text_column(*env, path, "text", {.string_bytes = 1 << 20}); }),
            "error[E_LIMIT] " + path + ": more than 16777216 bytes of text in 1024 rows");
  EXPECT_EQ(
      error_line([&] { read_text_column(*env, path, "text", {.json_file_bytes = 100 << 20}); }),
      "error[E_LIMIT] " + path + ": holds more than 33554432 rows or 104857600 bytes of text");
}

TEST(Table, AFailingDiskIsReportedAsSuch) {
  const auto env = posix_env();
  int reads = 0;
  const auto broken = fault_env(*env, [&](std::string_view operation, const std::string&) {
    return operation == "read" && ++reads > 2 ? EIO : 0;
  });
  const std::string line =
      error_line([&] { read_text_column(*broken, kFolder + "text_snappy.parquet", "text"); });
  EXPECT_TRUE(line.starts_with("error[E_IO] " + kFolder + "text_snappy.parquet")) << line;
}

// Every cut and many flipped bytes: an error of one line, or rows, never a crash.
TEST(Table, DamagedFilesAreRefusedOrReadInPart) {
  const auto env = posix_env();
  char folder[] = "/tmp/halftone_table_XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = join_path(folder, "t.parquet");
  const auto attempt = [&](const std::string& bytes) {
    env->remove(path);  // a new file each time: truncating an old one makes some file systems flush
    const auto file = env->create(path);
    file->write(bytes);
    file->close();
    const std::string line = error_line([&] { read_text_column(*env, path, "text"); });
    EXPECT_TRUE(line == "no error" || line.starts_with("error[E_")) << line;
    EXPECT_EQ(line.find('\n'), std::string::npos);
  };
  for (const char* name : {"text_snappy.parquet", "text_zstd.parquet"}) {
    const std::string good = env->read_text(kFolder + name, 1 << 20);
    for (size_t n = 0; n < good.size(); n += 37) attempt(good.substr(0, n));
    uint32_t seed = 3;
    for (int i = 0; i < 1500; ++i) {
      std::string bytes = good;
      for (int k = 0; k < 1 + i % 3; ++k) {
        seed = seed * 1664525 + 1013904223;
        bytes[(seed >> 8) % bytes.size()] = static_cast<char>(seed >> 3);
      }
      attempt(bytes);
    }
  }
  env->remove_tree(folder);
}

}  // namespace
}  // namespace halftone::text
