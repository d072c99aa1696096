#include "halftone/files/column.h"

#include <gtest/gtest.h>

#include "halftone/files/test_files.h"

namespace halftone::files {
namespace {

class Column : public testing::Test {
 protected:
  // "text|text" of the cells, or the error without the folder.
  std::string of(const std::string& name, const std::string& bytes,
                 std::vector<std::string> fields = {"prediction", "text"}) {
    const std::string path = folder.write(name, bytes);
    std::string out;
    const std::string error = testing_files::line_of([&] {
      for (const Cell& cell : read_column(folder.env(), path, fields).all) {
        EXPECT_TRUE(cell.where.starts_with(path + ":"));
        out += cell.text + "@" + cell.where.substr(path.size() + 1) + "|";
      }
    });
    const auto at = error.find(path);
    return at == std::string::npos ? out : error.substr(0, at) + error.substr(at + path.size());
  }
  testing_files::TempFolder folder;
};

TEST_F(Column, IsReadFromEveryKindOfFile) {
  EXPECT_EQ(of("a.txt", "one\r\n\n two "), "one@1|@2| two @3|");
  EXPECT_EQ(of("a.lst", "1\n0\n"), "1@1|0@2|");
  EXPECT_EQ(of("a.jsonl", "{\"text\": \"a\"}\n\n{\"text\": 1}\n{\"text\": true}\n"),
            "a@1|1@3|true@4|");
  EXPECT_EQ(of("a.jsonl", "{\"text\": \"a\", \"prediction\": \"b\"}\n"), "b@1|");
  EXPECT_EQ(of("a.tsv", "id\ttext\n1\tsay \"x\n2\t\n"), "say \"x@2|@3|");
  EXPECT_EQ(of("a.csv", "text,id\n\"a,\nb\",1\nc,2\n"), "a,\nb@2|c@4|");
}

TEST_F(Column, ALineThatIsBrokenIsNamed) {
  EXPECT_EQ(of("a.txt", ""), "error[E_VALUE] : holds no items; give a file with one item a line");
  EXPECT_EQ(of("a.tsv", "text\n"),
            "error[E_VALUE] : holds no items; give a file with one item a line");
  EXPECT_EQ(of("a.tsv", "text\tid\na\t1\nb\n"),
            "error[E_VALUE] :3: has 1 columns, the first line 2; mend or remove the line");
  EXPECT_EQ(of("a.tsv", "a\tb\n1\t2\n"),
            "error[E_MISSING] :1: has none of the fields \"prediction\", \"text\"; it has \"a\", "
            "\"b\"; name one of them");
  EXPECT_EQ(of("a.jsonl", "{\"text\": \"a\"}\n{\"label\": \"b\"}\n"),
            "error[E_MISSING] :2: has no field \"text\"; it has \"label\"");
  EXPECT_EQ(of("a.jsonl", "{\"text\": \"a\"}\n{\"text\": null}\n"),
            "error[E_TYPE] :2: field \"text\" is neither text nor a number; mend or remove the "
            "line");
}

}  // namespace
}  // namespace halftone::files
