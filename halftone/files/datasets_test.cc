#include "halftone/files/datasets.h"

#include <gtest/gtest.h>

#include "halftone/base/error.h"

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

TEST(TextSets, JsonlMistakesNameTheLine) {
  auto env = posix_env();
  const std::string path = testing::TempDir() + "rows.jsonl";
  write_atomically(*env, path, "{\"text\":\"a\"}\n{\"txt\":\"b\"}\n");
  try {
    read_text_file(*env, path, {});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.line(), "error[E_MISSING] " + path + ":2: has no field \"text\"");
  }
  env->remove(path);
}

}  // namespace
}  // namespace halftone::files
