// The Rust side by itself, past the checks that keep such input from it: a panic is an error,
// silent, and kills only its object.
#include <gtest/gtest.h>

#include <string>

#include "halftone_bridge/src/lib.rs.h"
#include "rust/cxx.h"

namespace halftone::text {
namespace {

rust::Slice<const uint8_t> bytes(const std::string& s) {
  return {reinterpret_cast<const uint8_t*>(s.data()), s.size()};
}

TEST(Bridge, APanicWhileLoadingIsAnError) {
  const std::string json =
      R"({"model":{"type":"BPE","continuing_subword_prefix":"####","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]}})";
  testing::internal::CaptureStderr();
  std::string what;
  try {
    bridge::tokenizer_from_json(bytes(json));
  } catch (const rust::Error& e) {
    what = e.what();
  }
  EXPECT_EQ(what, "the library gave up: attempt to subtract with overflow");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(Bridge, APanicWhileEncodingKillsTheObject) {
  // A charsmap whose trie is one unit pointing far outside.
  const std::string json =
      R"({"normalizer":{"type":"Precompiled","precompiled_charsmap":"BAAAAAD8/wNhAA=="},"model":{"type":"WordLevel","unk_token":"a","vocab":{"a":0}}})";
  const auto handle = bridge::tokenizer_from_json(bytes(json));
  const auto line = [&] {
    try {
      handle->encode("b", false);
      return std::string("no error");
    } catch (const rust::Error& e) {
      return std::string(e.what());
    }
  };
  EXPECT_EQ(line().substr(0, 41), "the library gave up: index out of bounds:");
  EXPECT_EQ(line(), "an earlier failure made this object unusable");
}

}  // namespace
}  // namespace halftone::text
