#include "halftone/files/datasets.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "halftone/base/error.h"
#include "halftone/files/test_files.h"

namespace halftone::files {
namespace {

TEST(TextSets, WikitextRowsAreThoseOfTheRawSet) {
  auto env = posix_env();
  const std::string dir = testing::TempDir() + "halftone_text_sets";
  env->make_directories(dir + "/wikitext2");
  write_atomically(*env, dir + "/wikitext2/test.txt", " \n = A = \n \n text here \n");
  const auto set = find_text_set(*env, "wikitext2", Split::test, {dir, "", {}});
  ASSERT_TRUE(set);
  EXPECT_EQ(set->joined(), "\n\n = A = \n\n\n\n\n text here \n");
  EXPECT_FALSE(find_text_set(*env, "wikitext2", Split::validation, {dir, "", {}}));
  EXPECT_THROW(find_text_set(*env, "wikitex", Split::test, {dir, "", {}}), InputError);
  env->remove_tree(dir);
}

TEST(TextSets, AStandInForASplitSaysSo) {
  testing_files::TempFolder folder;
  folder.env().make_directories(folder.in("ptb"));
  folder.write("ptb/ptb.valid.txt", " a b \n c \n");
  const DataPlaces places{.data_dir = folder.path(), .hub_cache = "", .parquet = {}};
  const auto set = [&](Split split) { return *find_text_set(folder.env(), "ptb", split, places); };
  EXPECT_EQ(set(Split::train).label, "ptb validation (no train part at hand)");
  EXPECT_THAT(set(Split::train).caution, testing::HasSubstr("also what the task ptb scores"));
  EXPECT_EQ(set(Split::validation).label, "ptb validation");
  EXPECT_EQ(set(Split::validation).caution, "");
  folder.write("ptb/ptb.train.txt", " d \n");
  EXPECT_EQ(set(Split::train).label, "ptb train");
  EXPECT_EQ(set(Split::train).rows, std::vector<std::string>{"d"});
  EXPECT_EQ(set(Split::train).caution, "");
}

// The cache of two downloads: the folders of both commits stay, refs/main names the one in use.
TEST(TextSets, TheHubCacheIsReadAtTheCommitThatMainNames) {
  testing_files::TempFolder folder;
  const std::string repo = "hub/datasets--Salesforce--wikitext/", old(40, 'a'), now(40, 'b'),
                    file = "/wikitext-2-raw-v1/test-00000-of-00001.parquet";
  for (const std::string& commit : {old, now}) {
    folder.env().make_directories(folder.in(repo + "snapshots/" + commit + "/wikitext-2-raw-v1"));
    folder.write(repo + "snapshots/" + commit + file, "PAR1");
  }
  const DataPlaces places{
      .data_dir = "",
      .hub_cache = folder.in("hub"),
      .parquet = [](const std::string& path, const std::string&) { return std::vector{path}; }};
  const auto found = [&] { return find_text_set(folder.env(), "wikitext2", Split::test, places); };
  EXPECT_FALSE(found());  // no ref: nothing says which of the two was asked for
  folder.env().make_directories(folder.in(repo + "refs"));
  for (const std::string& commit : {now, old}) {
    folder.write(repo + "refs/main", commit);
    ASSERT_TRUE(found());
    EXPECT_EQ(found()->rows[0], folder.in(repo + "snapshots/" + commit + file));
    EXPECT_EQ(found()->label, "wikitext2 test");
  }
  folder.write(repo + "refs/main", std::string(40, 'c'));
  EXPECT_FALSE(found());
  folder.write(repo + "refs/main", "broken");
  EXPECT_EQ(testing_files::line_of(found),
            "error[E_VALUE] " + folder.in(repo + "refs/main") +
                ": does not hold a commit; remove it and download the data set again");
}

TEST(TextSets, ThePlacesOfASetAreSaidAsTheyAre) {
  EXPECT_EQ(text_set_sought("wikitext2", Split::test, {}),
            "looked for as wikitext2/test.txt in the data folder (HALFTONE_DATA, not set) and as "
            "Salesforce/wikitext in the hub cache");
  EXPECT_EQ(
      text_set_sought("c4", Split::validation, {.data_dir = "/d"}),
      "looked for as c4/c4_fragments.jsonl in the data folder (HALFTONE_DATA: /d); the hub cache "
      "is not read for c4");
}

TEST(TextSets, WhatIsNoTextIsNamed) {
  testing_files::TempFolder folder;
  const auto line = [&](const std::string& name, const std::string& bytes) {
    const std::string path = folder.write(name, bytes);
    const std::string text = testing_files::line_of([&] {
      read_text_file(folder.env(), path, [](auto&, auto&) { return std::vector<std::string>(); });
    });
    const auto at = text.find(path);
    return at == std::string::npos ? text : text.substr(0, at) + text.substr(at + path.size());
  };
  EXPECT_EQ(line("a.txt", ""), "error[E_VALUE] : holds no text; give a file with text in it");
  EXPECT_EQ(line("a.txt", "abc\ncaf\xe9"),
            "error[E_UTF8] :2: not valid UTF-8; save the file as UTF-8");
  EXPECT_THAT(line("a.txt", "version https://git-lfs.github.com/spec/v1\n"),
              testing::StartsWith("error[E_MAGIC] : is a Git LFS pointer"));
  EXPECT_THAT(line("a.jsonl", "version https://git-lfs.github.com/spec/v1\n"),
              testing::StartsWith("error[E_MAGIC] : is a Git LFS pointer"));
  EXPECT_THAT(line("a.parquet", "version https://git-lfs.github.com/spec/v1\n"),
              testing::StartsWith("error[E_MAGIC] : is a Git LFS pointer"));
  EXPECT_THAT(line("a.parquet", "<!doctype html>"),
              testing::StartsWith("error[E_MAGIC] : is a web page"));
  EXPECT_THAT(line("a.txt", std::string("\x1f\x8b\x08\0\0", 5)),
              testing::StartsWith("error[E_MAGIC] : is gzip-compressed"));
  EXPECT_THAT(line("a.txt", "PK\3\4"), testing::StartsWith("error[E_MAGIC] : is a zip archive"));
  EXPECT_EQ(line("a.txt", "<html> may be what somebody wants to train on"), "no error");
  EXPECT_EQ(line("a.parquet", "PAR1"),
            "error[E_VALUE] : holds no text; give a file with text in it");
  EXPECT_EQ(line("a.jsonl", " \n\n"),
            "error[E_VALUE] : holds no text; give a file with text in it");
  EXPECT_EQ(line("a.jsonl", "{\"text\":\"a\"}\n[]\n"),
            "error[E_TYPE] :2: is not a JSON object; each line holds one item as {...}");
  EXPECT_EQ(line("a.jsonl", "{\"text\":7}\n"),
            "error[E_TYPE] :1: field \"text\" is not text; mend or remove the line");
  EXPECT_EQ(line("a.jsonl", "{\"text\":\"a\",\"text\":\"b\"}\n"),
            "error[E_DUP] :1: key \"text\" appears twice; mend or remove the line");
  EXPECT_EQ(line("a.jsonl", std::string(100'000, '[')),
            "error[E_DEPTH] :1: JSON nested deeper than 64; mend or remove the line");
  EXPECT_THAT(line("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b"),
              testing::StartsWith("error[E_JSON] :2: not valid JSON"));
  EXPECT_THAT(line("a.jsonl", "{\"text\":\"\\ud800\"}\n"),
              testing::StartsWith("error[E_JSON] :1: "));
  for (const char* name : {"d.txt", "d.parquet"}) {
    folder.env().make_directories(folder.in(name));
    EXPECT_EQ(testing_files::code_of([&] {
                read_text_file(folder.env(), folder.in(name),
                               [](auto&, auto&) { return std::vector<std::string>(); });
              }),
              Code::path);
  }
  EXPECT_EQ(
      testing_files::code_of([&] { read_text_file(folder.env(), folder.in("absent.txt"), {}); }),
      Code::missing);
  EXPECT_EQ(
      testing_files::code_of([&] { read_text_file(folder.env(), folder.in("a.parquet"), {}); }),
      Code::unsupported);
}

TEST(TextSets, JsonlMistakesNameTheLine) {
  auto env = posix_env();
  const std::string path = testing::TempDir() + "rows.jsonl";
  write_atomically(*env, path, "{\"text\":\"a\"}\n{\"txt\":\"b\"}\n");
  try {
    read_text_file(*env, path, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.line(), "error[E_MISSING] " + path + ":2: has no field \"text\"; it has \"txt\"");
  }
  env->remove(path);
}

}  // namespace
}  // namespace halftone::files
