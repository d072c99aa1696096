#include "halftone/base/json_shape.h"

#include <gtest/gtest.h>

#include "halftone/base/error.h"

namespace halftone {
namespace {

const Json kShape = {{"name", ""},
                     {"count", 0},
                     {"speed?", {{"tok_s", 0.0}}},
                     {"rows", Json::array({{{"range?", {0.0, 0.0}}}})}};

std::string told(const Json& document) {
  try {
    check_shape(document, kShape, "m.json", "measure again");
  } catch (const FileError& e) {
    return e.line();
  }
  return "right";
}

TEST(JsonShape, NamesTheFirstKeyThatIsMissingOrOfAnotherType) {
  const Json right = {{"name", "a"},
                      {"count", 3},
                      {"speed", {{"tok_s", 5}}},
                      {"rows", {{{"range", {1, 2.5}}}, Json::object()}},
                      {"more", Json()}};
  EXPECT_EQ(told(right), "right");
  const auto with = [&](const std::string& pointer, const Json& value) {
    Json out = right;
    out[Json::json_pointer(pointer)] = value;
    return told(out);
  };
  EXPECT_EQ(with("/speed", nullptr), "right");
  EXPECT_EQ(with("/rows", Json::array()), "right");
  EXPECT_EQ(with("/name", 1), "error[E_VALUE] m.json: key \"name\" is not a string; measure again");
  EXPECT_EQ(with("/count", 0.5),
            "error[E_VALUE] m.json: key \"count\" is not an integer; measure again");
  EXPECT_EQ(with("/speed", Json::object()),
            "error[E_VALUE] m.json: key \"speed/tok_s\" is missing; measure again");
  EXPECT_EQ(with("/rows/0/range", {1}),
            "error[E_VALUE] m.json: key \"rows/0/range\" is not a list of 2; measure again");
  EXPECT_EQ(with("/rows/1", "x"),
            "error[E_VALUE] m.json: key \"rows/1\" is not an object; measure again");
  EXPECT_EQ(told(Json::array()), "error[E_VALUE] m.json: it is not an object; measure again");
}

}  // namespace
}  // namespace halftone
