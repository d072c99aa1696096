#include "halftone/files/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halftone/base/error.h"
#include "halftone/files/test_files.h"

namespace halftone::files {
namespace {

using testing::ElementsAre;

TEST(Documents, OneJsonObjectALineWithItsPlace) {
  const testing_files::TempFolder folder;
  const std::string path =
      folder.write("a.jsonl", "{\"a\":\"x\",\"n\":\"12\"}\r\n \n{\"a\":[\"y\",\"z\"],\"n\":-3}");
  const auto [rows, blank_lines] = read_jsonl(folder.env(), path);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(blank_lines, 1);
  EXPECT_EQ(rows[0].text("a"), "x");
  EXPECT_EQ(rows[0].number("n"), 12);
  EXPECT_EQ(rows[1].where, path + ":3");
  EXPECT_THAT(rows[1].texts("a"), ElementsAre("y", "z"));
  EXPECT_EQ(rows[1].number("n"), -3);
  EXPECT_FALSE(rows[1].has("b"));
}

TEST(Documents, CsvKeepsQuotesCommasAndLineBreaks) {
  const testing_files::TempFolder folder;
  const std::string path =
      folder.write("a.csv", "a,\"b, \"\"c\"\"\",\r\n\"two\nlines\",x,\"\"\n\nlast,one,end");
  const auto [rows, blank_lines] = read_csv(folder.env(), path);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(blank_lines, 1);
  EXPECT_THAT(rows[0].fields, ElementsAre("a", "b, \"c\"", ""));
  EXPECT_THAT(rows[1].fields, ElementsAre("two\nlines", "x", ""));
  EXPECT_THAT(rows[2].fields, ElementsAre("last", "one", "end"));
  EXPECT_EQ(rows[1].where, path + ":2");
  EXPECT_EQ(rows[2].where, path + ":5");
}

TEST(Documents, TextThatIsNoTextIsRefused) {
  const testing_files::TempFolder folder;
  const std::string latin = folder.write("l.csv", "caf\xe9,b\n");
  EXPECT_EQ(testing_files::code_of([&] { read_csv(folder.env(), latin); }), Code::utf8);
  const std::string twice = folder.write("d.jsonl", "{\"a\":1,\"a\":2}\n");
  EXPECT_EQ(testing_files::code_of([&] { read_jsonl(folder.env(), twice); }), Code::duplicate);
}

}  // namespace
}  // namespace halftone::files
