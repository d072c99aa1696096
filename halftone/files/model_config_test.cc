#include "halftone/files/model_config.h"

#include <gtest/gtest.h>

#include "halftone/files/test_files.h"

namespace halftone::files {
namespace {
using namespace testing_files;

const std::string kPath = "config.json";
constexpr Code kAccepted = Code::internal;

// What reading `key` as a whole number in [1, 1000] gives when the file says `literal`.
Code integer(const std::string& literal) {
  return code_of([&] {
    const Json json = parse_json("{\"n\": " + literal + "}", kPath);
    ConfigReader(json, kPath).integer("n", 1, 1000);
  });
}

TEST(ConfigReader, WholeNumbersAreWholeAndInRange) {
  EXPECT_EQ(integer("1"), kAccepted);
  EXPECT_EQ(integer("1000"), kAccepted);
  for (const char* out : {"0", "-1", "1001", "2147483648", "9223372036854775807",
                          "9223372036854775808", "18446744073709551615", "-9223372036854775808"})
    EXPECT_EQ(integer(out), Code::value) << out;
  for (const char* other :
       {"32.5", "32.0", "\"32\"", "true", "[32]", "{}", "1e2", "18446744073709551616"})
    EXPECT_EQ(integer(other), Code::type) << other;
  EXPECT_EQ(integer("null"), Code::missing);
}

TEST(ConfigReader, NumbersAreFiniteAndAboveTheBound) {
  const auto number = [](const std::string& literal) {
    return code_of([&] {
      const Json json = parse_json("{\"x\": " + literal + "}", kPath);
      ConfigReader(json, kPath).number("x", 0, 1);
    });
  };
  EXPECT_EQ(number("1e-6"), kAccepted);
  EXPECT_EQ(number("1"), kAccepted);
  for (const char* out : {"0", "-1e-6", "1.5", "-0.0"}) EXPECT_EQ(number(out), Code::value) << out;
  for (const char* other : {"\"1\"", "true", "[1]"}) EXPECT_EQ(number(other), Code::type) << other;
  for (const char* broken : {"NaN", "Infinity", "1e999", "-1e999"})
    EXPECT_EQ(number(broken), Code::json) << broken;
}

TEST(ConfigReader, DefaultsStandInForAbsentAndNull) {
  const Json json = parse_json(R"({"null": null, "b": true, "t": "x", "o": {"k": 1}})", kPath);
  const ConfigReader config(json, kPath);
  EXPECT_EQ(config.integer("absent", 1, 5, 3), 3);
  EXPECT_EQ(config.integer("null", 1, 5, 3), 3);
  EXPECT_EQ(config.number("absent", 0, 1, 0.5), 0.5);
  EXPECT_TRUE(config.boolean("b"));
  EXPECT_FALSE(config.boolean("absent", false));
  EXPECT_EQ(config.text("t"), "x");
  EXPECT_EQ(config.text("absent", "y"), "y");
  EXPECT_EQ(config.object("o")["k"], 1);
  EXPECT_TRUE(config.object("absent").empty());
  EXPECT_TRUE(config.has("b"));
  EXPECT_FALSE(config.has("null"));
}

TEST(ConfigReader, ErrorsNameFileKeyAndReason) {
  const Json json =
      parse_json(R"({"heads": "32", "eps": 0, "act": 3, "flag": 1, "rope": []})", kPath);
  const ConfigReader config(json, kPath);
  EXPECT_EQ(line_of([&] { config.integer("layers", 1, 512); }),
            "error[E_MISSING] config.json: layers is missing");
  EXPECT_EQ(line_of([&] { config.number("eps", 0, 1); }),
            "error[E_VALUE] config.json: eps is 0, wanted more than 0.0 and at most 1.0");
  EXPECT_EQ(code_of([&] { config.integer("heads", 1, 512); }), Code::type);
  EXPECT_EQ(code_of([&] { config.text("act"); }), Code::type);
  EXPECT_EQ(code_of([&] { config.boolean("flag"); }), Code::type);
  EXPECT_EQ(code_of([&] { config.object("rope"); }), Code::type);
  const Json list = parse_json("[1]", kPath);
  EXPECT_EQ(code_of([&] { ConfigReader(list, kPath); }), Code::type);
}

}  // namespace
}  // namespace halftone::files
